#pragma once

#include <ATen/ATen.h>

namespace continual {

/// α and σ of the images of a batch, with their squares: float32, each N×1×1×1 to multiply images with, or 1×1×1×1.
struct Levels {
  at::Tensor alpha, sigma, alpha2, sigma2;
};

/// A forward process as numbers: float32, each 1 … T long, on the CPU.
struct ScheduleTable {
  at::Tensor alpha2, sigma2;
  /// What the network is told in place of the timestep; undefined where that is the timestep itself.
  at::Tensor told = {};
  /// α + σ = 1, as in flow matching, and not α² + σ² = 1.
  bool straight = false;
};

/// The forward process q(x_t | x_0) = N(α_t·x_0, σ_t²·I) as a table. Timesteps are tensors of N: int64, or float32 with
/// fractions between two timesteps. −1 means the clean image, α = 1 and σ = 0.
class NoiseSchedule {
 public:
  NoiseSchedule(const ScheduleTable& table, at::Device device);

  /// T.
  int64_t timesteps() const { return table_.size(1) - 1; }
  bool isStraight() const { return straight_; }
  Levels at(const at::Tensor& timesteps) const;
  /// x_t = α·x0 + σ·noise.
  at::Tensor addNoise(const at::Tensor& x0, const at::Tensor& noise, const at::Tensor& timesteps) const;
  /// What the network is told.
  at::Tensor told(const at::Tensor& timesteps) const;

  /// σ/α, float64, of any shape: between timesteps interpolated as diffusers does, at 0 … T − 1; finite.
  at::Tensor ratioAt(const at::Tensor& timesteps) const;
  /// The timestep, with a fraction, at which σ/α is `ratio`, by interpolation of its logarithm.
  at::Tensor timestepOf(const at::Tensor& ratio) const;
  /// The levels whose σ/α is `ratio`, float64 N; 0 is the clean image.
  Levels ofRatio(const at::Tensor& ratio) const;

 private:
  at::Tensor table_;  // the fields of Levels × (−1 … T − 1), on the device
  at::Tensor ratio_;  // float64, σ/α at 0 … T − 1
  at::Tensor told_;   // float64, or undefined
  bool straight_;
};

}  // namespace continual
