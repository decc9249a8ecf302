#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

namespace continual {

enum class Betas { linear, scaledLinear, cosine };
/// What the network answers.
enum class Prediction { epsilon, sample, v };

struct ScheduleConfig {
  int64_t timesteps;
  Betas betas;
  double betaStart, betaEnd;
  bool zeroTerminalSnr;
  Prediction prediction;
};

/// The forward process q(x_t | x_0) = N(√ᾱ_t x_0, (1 − ᾱ_t) I). Timesteps are int64 tensors of N; −1 means the clean
/// image, ᾱ = 1.
class NoiseSchedule {
 public:
  NoiseSchedule(const ScheduleConfig& config, at::Device device);

  const ScheduleConfig& config() const { return config_; }
  const std::vector<double>& betas() const { return betas_; }
  const std::vector<double>& alphasCumprod() const { return alphasCumprod_; }

  /// ᾱ at each timestep, float32, shaped N×1×1×1 to multiply images with.
  at::Tensor alphaCumprod(const at::Tensor& timesteps) const;
  /// √ᾱ·x0 + √(1−ᾱ)·noise.
  at::Tensor addNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;
  /// What a perfect network would answer.
  at::Tensor target(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;

  struct Estimate {
    at::Tensor x0, epsilon;
  };
  /// The clean image and the noise that an answer to x_t implies.
  Estimate estimate(const at::Tensor& xt, const at::Tensor& answer, const at::Tensor& timesteps) const;

 private:
  ScheduleConfig config_;
  std::vector<double> betas_, alphasCumprod_;
  at::Tensor table_;  // ᾱ at −1 … T − 1, on the device
};

}  // namespace continual
