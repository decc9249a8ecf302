#pragma once

#include <ATen/ATen.h>

namespace continual {

/// α and σ at the timesteps of a batch, with their squares: float32, each N×1×1×1 to multiply images with.
struct Levels {
  at::Tensor alpha, sigma, alpha2, sigma2;
};

/// The forward process q(x_t | x_0) = N(α_t·x_0, σ_t²·I) as a table. Timesteps are int64 tensors of N; −1 means the
/// clean image, α = 1 and σ = 0.
class NoiseSchedule {
 public:
  /// α_t² and σ_t² at 0 … T − 1, float32.
  NoiseSchedule(const at::Tensor& alpha2, const at::Tensor& sigma2, at::Device device);

  /// T.
  int64_t timesteps() const { return table_.size(1) - 1; }
  Levels at(const at::Tensor& timesteps) const;
  /// x_t = α·x0 + σ·noise.
  at::Tensor addNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;

 private:
  at::Tensor table_;  // the fields of Levels × (−1 … T − 1), on the device
};

}  // namespace continual
