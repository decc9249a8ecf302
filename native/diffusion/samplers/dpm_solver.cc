#include "diffusion/samplers/sampler.h"

namespace continual {

namespace {

/// DPM-Solver++(2M), arXiv 2211.01095, algorithm 2, and its SDE form, equation 18: x̂₀ is extrapolated from this step's
/// and the one before. The first step is of first order, and so is one that ends at the clean image.
Advance secondOrder(const Trajectory& trajectory, bool noisy) {
  struct Before {
    at::Tensor x0, lambda;
  };
  return [&trajectory, noisy, before = Before{}](const SamplerStep& step) mutable {
    const at::Tensor& x0 = step.estimate.x0;
    const at::Tensor lambda = halfLogSnr(step.from), h = halfLogSnr(step.to) - lambda;
    at::Tensor data = x0;
    const bool short_ = trajectory.config.steps < 15;  // as in diffusers
    if (step.index > 0 && !(step.isLast && (short_ || !trajectory.config.endsAtFirst))) {
      data = x0 + ratioOrZero(h, lambda - before.lambda) / 2 * (x0 - before.x0);
    }
    before = {x0, lambda};
    const at::Tensor kept = step.to.sigma / step.from.sigma;
    if (!noisy) return kept * step.x - step.to.alpha * at::expm1(-h) * data;
    const at::Tensor replaced = -at::expm1(-2 * h);
    return kept * at::exp(-h) * step.x + step.to.alpha * replaced * data +
           step.to.sigma * replaced.sqrt() * trajectory.noise(step.index);
  };
}

}  // namespace

Advance dpmSolver(const Trajectory& trajectory) { return secondOrder(trajectory, false); }
Advance sdeDpmSolver(const Trajectory& trajectory) { return secondOrder(trajectory, true); }

}  // namespace continual
