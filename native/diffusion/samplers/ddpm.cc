#include "diffusion/samplers/sampler.h"

namespace continual {

namespace {

/// What diffusers takes for a variance of 0 where it has its logarithm.
constexpr double none = 1e-20;

/// The variance of a step between the posterior's and β, which are the smallest and the largest that it can be.
at::Tensor varianceOf(Variance kind, const SamplerStep& step, const at::Tensor& small, const at::Tensor& large) {
  if (kind == Variance::small) return small;
  at::Tensor variance = large;
  if (kind == Variance::learned) variance = step.estimate.variance;
  if (kind == Variance::learnedRange) {
    // Nichol and Dhariwal, arXiv 2102.09672, equation 15, with v = −1 … 1 in place of 0 … 1.
    const at::Tensor low = small.clamp_min(none).log(), high = large.clamp_min(none).log();
    variance = (low + (step.estimate.variance + 1) / 2 * (high - low)).exp();
  }
  // The smaller one is 0 where the step goes to the clean image. The others are not, but for the last timestep's.
  return at::where(step.timestep.view({-1, 1, 1, 1}) > 0, variance, at::zeros_like(variance));
}

}  // namespace

// Ancestral sampling, arXiv 2006.11239, equation 7, for any spacing of the steps.
Advance ddpm(const Trajectory& trajectory) {
  return [&trajectory](const SamplerStep& step) {
    const Levels &from = step.from, &to = step.to;
    const at::Tensor stepAlpha = from.alpha2 / to.alpha2.clamp_min(smallest),
                     stepBeta = addedVariance(trajectory, step, stepAlpha);
    const at::Tensor mean =
        (to.alpha * stepBeta * step.estimate.x0 + stepAlpha.sqrt() * to.sigma2 * step.x) / from.sigma2;
    const at::Tensor variance =
        varianceOf(trajectory.config.variance, step, to.sigma2 / from.sigma2 * stepBeta, stepBeta);
    return mean + variance.sqrt() * trajectory.noise(step.index);
  };
}

}  // namespace continual
