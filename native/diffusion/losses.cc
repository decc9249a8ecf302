#include "diffusion/losses.h"

namespace continual {

namespace {

// min(SNR, γ) for x₀-prediction, divided by SNR for ε and by SNR + 1 for v; written with ᾱ so that SNR = 0 (weight 1
// for ε, by its limit) and SNR = ∞ need no special case: SNR = ᾱ / (1 − ᾱ).
at::Tensor minSnrWeight(const at::Tensor& alpha, double gamma, Prediction prediction) {
  switch (prediction) {
    case Prediction::epsilon:
      return at::minimum(at::ones_like(alpha), gamma * (1 - alpha) / alpha);
    case Prediction::sample:
      return (alpha / (1 - alpha)).clamp_max(gamma);
    case Prediction::v:
      break;
  }
  return at::minimum(alpha, gamma * (1 - alpha));
}

}  // namespace

at::Tensor loss(const Loss& kind, const at::Tensor& answer, const at::Tensor& target, const at::Tensor& timesteps,
                const NoiseSchedule& schedule) {
  switch (kind.kind) {
    case LossKind::mse:
      return at::mse_loss(answer, target);
    case LossKind::smoothL1:
      return at::smooth_l1_loss(answer, target);
    case LossKind::minSnr:
      break;
  }
  const at::Tensor weight = minSnrWeight(schedule.alphaCumprod(timesteps), kind.gamma, schedule.config().prediction);
  return (weight * (answer - target).square()).mean();
}

}  // namespace continual
