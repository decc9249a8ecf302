#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <vector>

#include "runtime/cancellation.h"

/// Comparisons of all pairs of rows (float32, N × D), computed in float64 a block of pairs at a time.
namespace continual {

/// Unbiased MMD² (arXiv 1801.01401, equation 4): pairs of a row with itself are left out. The kernel is (x·y / D + 1)³
/// or, with `sigma`, exp(−|x − y|² / 2σ²). Needs two rows each.
double kernelDistance(const at::Tensor& real, const at::Tensor& generated, std::optional<double> sigma,
                      const Cancellation& cancellation);

/// The same in the first kernel for `subsets` random subsets of `size` real and as many generated rows, each drawn
/// without replacement.
std::vector<double> kernelDistances(const at::Tensor& real, const at::Tensor& generated, int64_t subsets, int64_t size,
                                    uint64_t seed, const Cancellation& cancellation);

/// Fraction of `points` within at least one ball around a row of `manifold`, whose radius is that row's distance to the
/// k-th nearest other row (arXiv 1904.06991, equations 1 and 2). Needs k + 1 rows. Distances that differ by no more
/// than rounding count as equal, so a point that equals a row lies in its ball.
double coverage(const at::Tensor& manifold, const at::Tensor& points, int64_t k, const Cancellation& cancellation);

}  // namespace continual
