#include "training/optimizer.h"

#include <algorithm>
#include <cmath>
#include <numbers>

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

double LearningRate::after(int64_t done) const {
  if (done < warmup) return peak * static_cast<double>(done) / static_cast<double>(warmup);
  const auto span = static_cast<double>(std::max<int64_t>(steps - warmup, 1));
  const double progress = std::min(static_cast<double>(done - warmup) / span, 1.0);
  switch (kind) {
    case Kind::constant:
      return peak;
    case Kind::linear:
      return peak * (1 - (1 - final) * progress);
    case Kind::cosine:
      break;
  }
  return peak * (final + (1 - final) * (1 + std::cos(std::numbers::pi * progress)) / 2);
}

double AverageDecay::after(int64_t done) const {
  const auto t = static_cast<double>(done);
  switch (warmUp) {
    case WarmUp::none:
      return most;
    case WarmUp::ratio:
      return done == 0 ? 0 : std::min(most, (1 + t) / (10 + t));
    case WarmUp::power:
      break;
  }
  return std::min(most, 1 - std::pow(1 + t / invGamma, -power));
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
    const std::vector<at::Tensor> w{part(weights)}, g{part(gradient)}, m{part(expAvg)}, v{part(expAvgSq)}, n{step};
    if (c.decoupled) {
      at::_fused_adamw_(w, g, m, v, {}, n, rate, c.beta1, c.beta2, c.weightDecay, c.eps, /*amsgrad=*/false,
                        /*maximize=*/false, scale);
    } else {
      at::_fused_adam_(w, g, m, v, {}, n, rate, c.beta1, c.beta2, c.weightDecay, c.eps, /*amsgrad=*/false,
                       /*maximize=*/false, scale);
    }
  };
  if (rateOnDevice_.defined()) {
    adam(rateOnDevice_);
  } else {
    adam(rate_);
  }
}

}  // namespace continual
