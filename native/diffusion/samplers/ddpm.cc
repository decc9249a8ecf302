#include <limits>

#include "diffusion/samplers/sampler.h"

namespace continual {

// Where float32 has no number so small as ᾱ, an image is noise alone, and stays so whatever part of the noise a step
// replaces: all of it.
constexpr float smallest = std::numeric_limits<float>::min();

// Ancestral sampling, arXiv 2006.11239, equation 7, for any spacing of the steps.
Advance ddpm(const Trajectory& trajectory) {
  return [&trajectory](const SamplerStep& step) {
    const Levels &from = step.from, &to = step.to;
    const at::Tensor stepAlpha = from.alpha2 / to.alpha2.clamp_min(smallest),
                     stepBeta = addedVariance(trajectory, step, stepAlpha);
    const at::Tensor mean =
        (to.alpha * stepBeta * step.estimate.x0 + stepAlpha.sqrt() * to.sigma2 * step.x) / from.sigma2;
    // The smaller one is 0 where the step goes to the clean image. The larger one is not, but for the last timestep's.
    const at::Tensor variance = trajectory.config.largeVariance ? at::where(step.timestep.view({-1, 1, 1, 1}) > 0,
                                                                            stepBeta, at::zeros_like(stepBeta))
                                                                : to.sigma2 / from.sigma2 * stepBeta;
    return mean + variance.sqrt() * trajectory.noise(step.index);
  };
}

}  // namespace continual
