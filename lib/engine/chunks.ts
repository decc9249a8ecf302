/** How long one native call should take, in milliseconds: progress and aborts come about that often. */
const callMilliseconds = 200

/**
 * How many training steps the next native call should take, so that it lasts about 200 ms; at most four times as many as the last call.
 * What the steps compute doesn't depend on it, since draws are a function of the step's number.
 *
 * @param steps steps that the last call took
 * @param milliseconds how long the last call lasted
 * @param atOnce the result is a multiple of it: as many steps as the engine prepares together
 */
export function nextChunk(steps: number, milliseconds: number, atOnce = 1): number {
  const fitting = Math.round((steps * callMilliseconds) / milliseconds)
  return Math.ceil(Math.max(1, Math.min(steps * 4, fitting)) / atOnce) * atOnce
}
