#include "diffusion/samplers/sampler.h"

namespace continual {

// Euler's method for x_t/α as a function of σ/α (arXiv 2206.00364), or for x_t as one of σ on a straight path: both
// keep x̂₀ and ε̂ and go on to their levels at the step's end.
Advance euler(const Trajectory&) {
  return
      [](const SamplerStep& step) { return step.to.alpha * step.estimate.x0 + step.to.sigma * step.estimate.epsilon; };
}

// Heun's method: the slope is the mean of those at both ends of Euler's step; the last step is Euler's.
Advance heun(const Trajectory& trajectory) {
  return [&trajectory, first = euler(trajectory)](const SamplerStep& step) {
    const at::Tensor predicted = first(step);
    if (step.isLast) return predicted;
    const Estimate end = estimate(trajectory, step.to, predicted, step.next);
    const at::Tensor change = end.epsilon - step.estimate.epsilon;
    return trajectory.schedule.isStraight()
               ? predicted + (step.to.sigma - step.from.sigma) / 2 * (change - (end.x0 - step.estimate.x0))
               : predicted + step.to.alpha * (ratio(step.to) - ratio(step.from)) / 2 * change;
  };
}

}  // namespace continual
