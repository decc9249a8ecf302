#pragma once

#include <ATen/ATen.h>

#include "runtime/cancellation.h"

/// The bootstrap (Efron 1979): what a statistic of N elements is for as many elements drawn from them with replacement.
namespace continual {

/// `counts` (K, float64) say how many of N elements are in each category: the counts of `replicates` resamples,
/// replicates × K, float64.
at::Tensor resampledCounts(const at::Tensor& counts, int64_t replicates, uint64_t seed,
                           const Cancellation& cancellation);

/// The Fréchet distances from the given mean and covariance to those of `replicates` resamples of rows (N × D,
/// float32), float64. N rows, of which a resample has two different ones at least.
at::Tensor resampledFrechetDistances(const at::Tensor& mean, const at::Tensor& covariance, const at::Tensor& rows,
                                     int64_t replicates, uint64_t seed, const Cancellation& cancellation);

}  // namespace continual
