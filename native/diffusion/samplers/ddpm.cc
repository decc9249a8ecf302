#include <limits>

#include "diffusion/samplers/sampler.h"

namespace continual {

// Where float32 has no number so small as ᾱ, an image is noise alone, and stays so whatever part of the noise a step
// replaces: all of it.
constexpr float smallest = std::numeric_limits<float>::min();

// Ancestral sampling, arXiv 2006.11239, equation 7, for any spacing of the steps.
at::Tensor ddpm(const Trajectory& trajectory) {
  return stepThrough(trajectory, [&](const SamplerStep& step) {
    const auto& [i, x, from, to, estimate] = step;
    const at::Tensor stepAlpha = from.alpha2 / to.alpha2.clamp_min(smallest), stepBeta = 1 - stepAlpha;
    const at::Tensor mean = (to.alpha * stepBeta * estimate.x0 + stepAlpha.sqrt() * to.sigma2 * x) / from.sigma2;
    const at::Tensor variance = to.sigma2 / from.sigma2 * stepBeta;  // 0 where it goes to the clean image
    return mean + variance.sqrt() * trajectory.noise(i);
  });
}

}  // namespace continual
