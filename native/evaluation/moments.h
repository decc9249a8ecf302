#pragma once

#include <ATen/ATen.h>

namespace continual {

/// Adds rows (N × D, float32) to running moments over `count` rows, in place: `mean` (D) and `m2` (D × D, the sum of
/// centred outer products), float64. Chan, Golub & LeVeque 1983: merging centred sums loses no digits to cancellation.
void accumulateMoments(const at::Tensor& rows, int64_t count, const at::Tensor& mean, const at::Tensor& m2);

/// |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·√(Σ₁Σ₂)), float64 (Dowson & Landau 1982), from one distribution to any others.
class FrechetDistanceFrom {
 public:
  FrechetDistanceFrom(const at::Tensor& mean, const at::Tensor& covariance);
  double operator()(const at::Tensor& mean, const at::Tensor& covariance) const;

 private:
  at::Tensor mean_, trace_, root_;
};

}  // namespace continual
