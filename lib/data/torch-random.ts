/** Words in the state of MT19937, and how far apart the ones that are mixed lie. */
const words = 624
const middle = 397

/**
 * The 32-bit Mersenne Twister MT19937 (Matsumoto and Nishimura 1998), which is what torch's CPU generator draws from.
 *
 * @param seed a non-negative integer; its low 32 bits are used, as by `torch.manual_seed`
 * @returns a function that draws the next number, 0 … 2³² − 1
 */
export function mersenneTwister(seed: number): () => number {
  const state = new Uint32Array(words)
  state[0] = seed % 2 ** 32
  for (let i = 1; i < words; i++) {
    const last = state[i - 1]!
    state[i] = Math.imul(1812433253, last ^ (last >>> 30)) + i
  }
  let next = words

  const twist = () => {
    for (let i = 0; i < words; i++) {
      const y = (state[i]! & 0x80000000) | (state[(i + 1) % words]! & 0x7fffffff)
      state[i] = state[(i + middle) % words]! ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    next = 0
  }

  return () => {
    if (next === words) twist()
    let y = state[next++]!
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    y ^= y >>> 18
    return y >>> 0
  }
}

/**
 * The numbers 0 … n − 1 in the order of `torch.randperm(n)` on the CPU after `torch.manual_seed(seed)`.
 *
 * @param n at most 2³² / 20: above it torch draws 64 bits for each
 */
export function torchRandperm(n: number, seed: number): number[] {
  const random = mersenneTwister(seed)
  const order = Array.from({ length: n }, (_, i) => i)
  for (let i = 0; i < n - 1; i++) {
    const j = i + (random() % (n - i))
    const value = order[i]!
    order[i] = order[j]!
    order[j] = value
  }
  return order
}
