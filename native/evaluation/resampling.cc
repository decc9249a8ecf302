#include "evaluation/resampling.h"

#include "evaluation/moments.h"
#include "runtime/random.h"

namespace continual {

at::Tensor resampledCounts(const at::Tensor& counts, int64_t replicates, uint64_t seed,
                           const Cancellation& cancellation) {
  const at::Tensor ends = counts.cumsum(0).to(at::kLong);
  const auto total = ends[-1].item<int64_t>();
  at::Tensor result = at::empty({replicates, counts.size(0)}, at::kDouble);
  for (int64_t i = 0; i < replicates; ++i) {
    cancellation.check();
    const at::Tensor drawn = Random(seed, Purpose::resampling, static_cast<uint64_t>(i)).integers(total, 0, total);
    const at::Tensor categories = at::searchsorted(ends, drawn, /*out_int32=*/false, /*right=*/true);
    result[i].copy_(categories.bincount({}, counts.size(0)));
  }
  return result;
}

at::Tensor resampledFrechetDistances(const at::Tensor& mean, const at::Tensor& covariance, const at::Tensor& rows,
                                     int64_t replicates, uint64_t seed, const Cancellation& cancellation) {
  const int64_t count = rows.size(0);
  const at::Tensor all = rows.to(at::kDouble), centre = all.mean(0), centred = all - centre;
  at::Tensor result = at::empty({replicates}, at::kDouble);
  for (int64_t i = 0; i < replicates; ++i) {
    cancellation.check();
    const at::Tensor drawn = Random(seed, Purpose::resampling, static_cast<uint64_t>(i)).integers(count, 0, count);
    const at::Tensor weights = drawn.bincount({}, count).to(at::kDouble);
    const at::Tensor weighted = centred * weights.unsqueeze(1), shift = weighted.sum(0) / static_cast<double>(count);
    at::Tensor m2 = weighted.t().mm(centred);
    m2.addr_(shift, shift, 1, -static_cast<double>(count));
    result[i] = frechetDistance(mean, covariance, centre + shift, m2 / static_cast<double>(count - 1));
  }
  return result;
}

}  // namespace continual
