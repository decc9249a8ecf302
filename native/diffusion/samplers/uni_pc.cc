#include "diffusion/samplers/sampler.h"

namespace continual {

// UniPC of order 2 with B₂(h) = e^h − 1, for x̂₀ (arXiv 2302.04867, algorithms 5 to 8). Each step first corrects the
// images that the step before predicted, by the prediction for them: no further call of the network.
Advance uniPc(const Trajectory& trajectory) {
  struct Before {
    at::Tensor x, x0, lambda;
    Levels levels;
    int order;
  };
  return [&trajectory, last = Before{}, beforeLast = Before{}](const SamplerStep& step) mutable {
    const at::Tensor& x0 = step.estimate.x0;
    const at::Tensor lambda = halfLogSnr(step.from);
    // The images at a step's end where x̂₀ stays as it is, and what x̂₀'s change is weighed with.
    const auto firstOrder = [](const Before& from, const Levels& to, const at::Tensor& phi) {
      return to.sigma / from.levels.sigma * from.x - to.alpha * phi * from.x0;
    };
    at::Tensor x = step.x;
    if (step.index > 0) {
      const at::Tensor h = lambda - last.lambda, phi = at::expm1(-h);
      at::Tensor correction = (x0 - last.x0) / 2;
      if (last.order == 2) {
        const at::Tensor back = ratioOrZero(beforeLast.lambda - last.lambda, h);
        const at::Tensor b1 = -1 / h - 1 / phi, b2 = -2 * b1 / h - 1 / phi, weight = (b1 - b2) / (1 - back);
        correction = weight * ratioOrZero(beforeLast.x0 - last.x0, back) + (b1 - weight) * (x0 - last.x0);
      }
      const at::Tensor corrected = firstOrder(last, step.from, phi) - step.from.alpha * phi * correction;
      x = at::where(h == 0, x, corrected);
    }
    const int order = step.index == 0 || step.isLast ? 1 : 2;
    beforeLast = last;
    last = {x, x0, lambda, step.from, order};
    const at::Tensor h = halfLogSnr(step.to) - lambda, phi = at::expm1(-h);
    at::Tensor end = firstOrder(last, step.to, phi);
    if (order == 2) {
      const at::Tensor back = ratioOrZero(beforeLast.lambda - lambda, h);
      end = end - step.to.alpha * phi / 2 * ratioOrZero(beforeLast.x0 - x0, back);
    }
    return end;
  };
}

}  // namespace continual
