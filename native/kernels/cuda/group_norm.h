#pragma once

#include <algorithm>
#include <numeric>

namespace continual::cuda {

/// The first argument of group_norm.cu's functions, its `Shape`.
struct GroupNormShape {
  int pixels, channels, groupSize, slice;
};

constexpr int vectorWidth = 4, mostThreads = 384;  // as in group_norm.cu

/// How group norm is shared among blocks and threads.
struct GroupNormPlan {
  GroupNormShape shape;
  int slices, across, rows;  // a block's threads are across × rows

  int threads() const { return across * rows; }
  bool possible() const { return rows > 0; }
  /// Whether a batch makes use of a GPU: of few large images libtorch's operators take more blocks.
  bool fills(int images) const { return images * slices >= 256 || shape.pixels <= 64 * rows; }
  /// Bytes, for `totals` numbers of each channel besides the sums of all rows.
  int sharedMemory(int totals) const { return static_cast<int>(sizeof(float)) * shape.slice * (rows + totals); }
};

/// For a kernel that reads so many tensors. A slice is of at least 32 bytes at each pixel, what memory gives at once,
/// and gives a block at least 128 threads; rows so many that, if there may be, each thread has what it keeps.
inline GroupNormPlan planGroupNorm(int pixels, int channels, int groups, int bytesOfNumber, int tensors) {
  GroupNormPlan plan{{pixels, channels, channels / groups, 0}, 0, 0, 0};
  const int kept = 32 / bytesOfNumber / tensors;  // as in group_norm.cu
  if (channels % groups != 0 || channels % vectorWidth != 0) return plan;
  const int least = std::lcm(plan.shape.groupSize, vectorWidth);
  for (int slice = least; slice <= channels && slice / vectorWidth <= mostThreads; slice += least) {
    if (channels % slice != 0) continue;
    plan.shape.slice = slice;
    plan.slices = channels / slice;
    plan.across = slice / vectorWidth;
    plan.rows = std::min((pixels + kept - 1) / kept, mostThreads / plan.across);
    if (slice * bytesOfNumber >= 32 && plan.threads() >= 128) break;
  }
  return plan;
}

}  // namespace continual::cuda
