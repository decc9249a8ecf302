#include "training/optimizer.h"

namespace continual {

Adam::Adam(const at::Tensor& weights)
    : expAvg(at::zeros_like(weights)),
      expAvgSq(at::zeros_like(weights)),
      step(at::zeros({}, weights.options().dtype(at::kFloat))) {}

void Adam::reset() {
  expAvg.zero_();
  expAvgSq.zero_();
  step.zero_();
}

void Adam::update(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& norm,
                  const OptimizerConfig& c) {
  step.add_(1);
  std::optional<at::Tensor> scale;
  if (c.clipGradNorm > 0) {
    // The fused kernel divides by it; the same as torch's clip_grad_norm_, 1e-6 included.
    scale = ((norm + 1e-6) / c.clipGradNorm).clamp_min(1).to(at::kFloat);
  }
  at::_fused_adam_({weights}, {gradient}, {expAvg}, {expAvgSq}, {}, {step}, c.lr, c.beta1, c.beta2, c.weightDecay,
                   c.eps, /*amsgrad=*/false, /*maximize=*/false, scale);
}

}  // namespace continual
