#include "training/optimizer.h"

namespace continual {

at::Tensor gradientNorm(const at::Tensor& x) {
  // Short rows in float32, without a copy in float64 of all that there is.
  constexpr int64_t row = 1024;
  const auto squares = [](const at::Tensor& rows) {
    return at::linalg_vector_norm(rows, 2, {-1}).to(at::kDouble).square().sum();
  };
  const int64_t whole = x.numel() / row * row;
  return (squares(x.slice(0, 0, whole).view({-1, row})) + squares(x.slice(0, whole))).sqrt();
}

Adam::Adam(const at::Tensor& weights)
    : expAvg(at::zeros_like(weights)),
      expAvgSq(at::zeros_like(weights)),
      step(at::zeros({}, weights.options().dtype(at::kFloat))),
      rateOnDevice_(weights.is_cpu() ? at::Tensor() : at::zeros_like(step)) {}

void Adam::reset() {
  expAvg.zero_();
  expAvgSq.zero_();
  step.zero_();
}

void Adam::setLearningRate(double rate) {
  if (rate == rate_) return;
  rate_ = rate;
  if (rateOnDevice_.defined()) rateOnDevice_.fill_(rate);
}

void Adam::begin() { step.add_(1); }

void Adam::update(const at::Tensor& weights, const at::Tensor& gradient, const at::Tensor& norm,
                  const OptimizerConfig& c, int64_t begin, int64_t end) const {
  std::optional<at::Tensor> scale;
  if (c.clipGradNorm > 0) {
    // The fused kernel divides by it; the same as torch's clip_grad_norm_, 1e-6 included.
    scale = ((norm + 1e-6) / c.clipGradNorm).clamp_min(1).to(at::kFloat);
  }
  const auto part = [&](const at::Tensor& t) { return t.slice(0, begin, end); };
  const auto adam = [&](const auto& rate) {
    at::_fused_adam_({part(weights)}, {part(gradient)}, {part(expAvg)}, {part(expAvgSq)}, {}, {step}, rate, c.beta1,
                     c.beta2, c.weightDecay, c.eps, /*amsgrad=*/false, /*maximize=*/false, scale);
  };
  if (rateOnDevice_.defined()) {
    adam(rateOnDevice_);
  } else {
    adam(rate_);
  }
}

}  // namespace continual
