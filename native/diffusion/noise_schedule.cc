#include "diffusion/noise_schedule.h"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace continual {

namespace {

// Keeps x̂₀ finite where ᾱ = 0; the value is part of the reference's DDIM.
constexpr double tiny = 1e-8;

std::vector<double> makeBetas(const ScheduleConfig& c) {
  std::vector<double> betas(static_cast<size_t>(c.timesteps));
  const auto last = static_cast<double>(std::max<int64_t>(c.timesteps - 1, 1));
  const auto count = static_cast<double>(c.timesteps);
  const auto cosineAlpha = [&](double t) {
    const double root = std::cos((t / count + 0.008) / 1.008 * std::numbers::pi / 2);
    return root * root;
  };
  for (size_t i = 0; i < betas.size(); ++i) {
    const auto t = static_cast<double>(i);
    switch (c.betas) {
      case Betas::linear:
        betas[i] = c.betaStart + (c.betaEnd - c.betaStart) * t / last;
        break;
      case Betas::scaledLinear: {
        const double root = std::sqrt(c.betaStart) + (std::sqrt(c.betaEnd) - std::sqrt(c.betaStart)) * t / last;
        betas[i] = root * root;
        break;
      }
      case Betas::cosine:  // arXiv 2102.09672, equation 17
        betas[i] = std::min(1 - cosineAlpha(t + 1) / cosineAlpha(t), 0.999);
        break;
    }
  }
  return betas;
}

std::vector<double> cumulativeAlphas(const std::vector<double>& betas) {
  std::vector<double> result;
  double product = 1;
  for (const double beta : betas) result.push_back(product *= 1 - beta);
  return result;
}

// arXiv 2305.08891, algorithm 1: shifts √ᾱ so that it ends at 0, and scales it so that it begins where it did.
void rescaleToZeroTerminalSnr(std::vector<double>& alphasCumprod) {
  const double first = std::sqrt(alphasCumprod.front()), last = std::sqrt(alphasCumprod.back());
  for (double& value : alphasCumprod) {
    const double root = (std::sqrt(value) - last) * first / (first - last);
    value = root * root;
  }
  alphasCumprod.back() = 0;
}

}  // namespace

NoiseSchedule::NoiseSchedule(const ScheduleConfig& config, at::Device device)
    : config_(config), betas_(makeBetas(config)), alphasCumprod_(cumulativeAlphas(betas_)) {
  if (config.zeroTerminalSnr) {
    rescaleToZeroTerminalSnr(alphasCumprod_);
    for (size_t i = 0; i < betas_.size(); ++i) {
      betas_[i] = 1 - alphasCumprod_[i] / (i == 0 ? 1 : alphasCumprod_[i - 1]);
    }
  }
  std::vector<double> values{1.0};
  values.insert(values.end(), alphasCumprod_.begin(), alphasCumprod_.end());
  table_ = at::tensor(values, at::kDouble).to(at::kFloat).to(device);
}

at::Tensor NoiseSchedule::alphaCumprod(const at::Tensor& timesteps) const {
  return table_.gather(0, timesteps + 1).view({-1, 1, 1, 1});
}

at::Tensor NoiseSchedule::addNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const {
  const at::Tensor alpha = alphaCumprod(timesteps);
  return alpha.sqrt() * x0 + (1 - alpha).sqrt() * noise;
}

at::Tensor NoiseSchedule::target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const {
  if (config_.prediction == Prediction::epsilon) return noise;
  if (config_.prediction == Prediction::sample) return x0;
  const at::Tensor alpha = alphaCumprod(timesteps);
  return alpha.sqrt() * noise - (1 - alpha).sqrt() * x0;
}

NoiseSchedule::Estimate NoiseSchedule::estimate(const at::Tensor& xt, const at::Tensor& answer,
                                                const at::Tensor& timesteps) const {
  const at::Tensor alpha = alphaCumprod(timesteps), signal = alpha.sqrt(), sigma = (1 - alpha).sqrt();
  switch (config_.prediction) {
    case Prediction::epsilon:
      return {(xt - sigma * answer) / (alpha + tiny).sqrt(), answer};
    case Prediction::sample:
      return {answer, (xt - signal * answer) / (1 - alpha + tiny).sqrt()};
    case Prediction::v:
      break;
  }
  return {signal * xt - sigma * answer, signal * answer + sigma * xt};
}

}  // namespace continual
