#include "diffusion/samplers/sampler.h"

namespace continual {

// arXiv 2010.02502, equations 12 and 16. ε̂ is not derived again from the clipped x̂₀, and 1e-8 is added to ᾱ, as in the
// paper's code.
at::Tensor ddim(const Trajectory& trajectory) {
  const double eta = trajectory.config.eta;
  return stepThrough(trajectory, [&](const SamplerStep& step) {
    const auto& [i, x, from, to, estimate] = step;
    const at::Tensor variance = to.sigma2 / from.sigma2 * (1 - from.alpha2 / (to.alpha2 + 1e-8)) * (eta * eta);
    const at::Tensor mean = to.alpha * estimate.x0 + (to.sigma2 - variance).clamp(0, 1).sqrt() * estimate.epsilon;
    return eta > 0 ? mean + variance.sqrt() * trajectory.noise(i) : mean;
  });
}

}  // namespace continual
