#pragma once

#include <ATen/ATen.h>

namespace continual {

/// Adds rows (N × D, float32) to running moments over `count` rows, in place: `mean` (D) and `m2` (D × D, the sum of
/// centred outer products), float64. Chan, Golub & LeVeque 1983: merging centred sums loses no digits to cancellation.
void accumulateMoments(const at::Tensor& rows, int64_t count, const at::Tensor& mean, const at::Tensor& m2);

/// |μ₁ − μ₂|² + tr(Σ₁ + Σ₂ − 2·√(Σ₁Σ₂)), float64 (Dowson & Landau 1982).
double frechetDistance(const at::Tensor& mean1, const at::Tensor& covariance1, const at::Tensor& mean2,
                       const at::Tensor& covariance2);

}  // namespace continual
