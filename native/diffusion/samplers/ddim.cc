#include "diffusion/samplers/sampler.h"

namespace continual {

// arXiv 2010.02502, equations 12 and 16. ε̂ is not derived again from the clipped x̂₀.
Advance ddim(const Trajectory& trajectory) {
  return [&trajectory](const SamplerStep& step) {
    const double eta = trajectory.config.eta, tiny = trajectory.config.tiny;
    const at::Tensor &x0 = step.estimate.x0, &epsilon = step.estimate.epsilon;
    const Levels &from = step.from, &to = step.to;
    const at::Tensor added = addedVariance(trajectory, step, from.alpha2 / (to.alpha2 + tiny).clamp_min(smallest));
    const at::Tensor variance = to.sigma2 / from.sigma2 * added * (eta * eta);
    const at::Tensor mean = to.alpha * x0 + (to.sigma2 - variance).clamp(0, 1).sqrt() * epsilon;
    return eta > 0 ? mean + variance.sqrt() * trajectory.noise(step.index) : mean;
  };
}

}  // namespace continual
