#include "evaluation/resampling.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <functional>

#include "evaluation/moments.h"
#include "runtime/random.h"

namespace continual {

namespace {

/// Calls `one(i, drawn)` for each resample, with the positions of N elements that are drawn with replacement. Each is
/// computed by one thread: threads that share such small work mostly wait for each other on a busy machine.
void forEachResample(int64_t elements, int64_t replicates, uint64_t seed, const Cancellation& cancellation,
                     const std::function<void(int64_t, const at::Tensor&)>& one) {
  at::parallel_for(0, replicates, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      cancellation.check();
      one(i, Random(seed, Purpose::resampling, static_cast<uint64_t>(i)).integers(elements, 0, elements));
    }
  });
}

}  // namespace

at::Tensor resampledCounts(const at::Tensor& counts, int64_t replicates, uint64_t seed,
                           const Cancellation& cancellation) {
  const at::Tensor ends = counts.cumsum(0).to(at::kLong);
  const auto* first = ends.const_data_ptr<int64_t>();
  const int64_t categories = ends.size(0);
  at::Tensor result = at::zeros({replicates, categories}, at::kDouble);
  auto* out = result.mutable_data_ptr<double>();
  forEachResample(first[categories - 1], replicates, seed, cancellation, [=](int64_t i, const at::Tensor& drawn) {
    const auto* position = drawn.const_data_ptr<int64_t>();
    for (int64_t n = 0; n < drawn.numel(); ++n) {
      ++out[i * categories + (std::upper_bound(first, first + categories, position[n]) - first)];
    }
  });
  return result;
}

at::Tensor resampledFrechetDistances(const at::Tensor& mean, const at::Tensor& covariance, const at::Tensor& rows,
                                     int64_t replicates, uint64_t seed, const Cancellation& cancellation) {
  const int64_t count = rows.size(0);
  const at::Tensor all = rows.to(at::kDouble), centre = all.mean(0), centred = all - centre;
  const FrechetDistanceFrom distance(mean, covariance);
  at::Tensor result = at::empty({replicates}, at::kDouble);
  auto* out = result.mutable_data_ptr<double>();
  forEachResample(count, replicates, seed, cancellation, [&](int64_t i, const at::Tensor& drawn) {
    const at::Tensor weights = drawn.bincount({}, count).to(at::kDouble);
    const at::Tensor weighted = centred * weights.unsqueeze(1), shift = weighted.sum(0) / static_cast<double>(count);
    at::Tensor m2 = weighted.t().mm(centred);
    m2.addr_(shift, shift, 1, -static_cast<double>(count));
    out[i] = distance(centre + shift, m2 / static_cast<double>(count - 1));
  });
  return result;
}

}  // namespace continual
