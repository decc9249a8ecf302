#pragma once

#include <algorithm>
#include <numeric>

namespace continual::cuda {

/// How an image's group norm is shared among blocks and threads. Of the layout of group_norm.cu's first argument.
struct GroupNormShape {
  int pixels, channels, groupSize, slice;
};

constexpr int vectorWidth = 4, mostThreads = 768;  // as in group_norm.cu

struct GroupNormPlan {
  GroupNormShape shape;
  int slices, rows, threads;

  bool possible() const { return rows > 0; }
  /// Bytes, for `totals` numbers of each channel besides the sums of all rows.
  int sharedMemory(int totals) const { return static_cast<int>(sizeof(float)) * shape.slice * (rows + totals); }
};

/// A slice is of at least 32 bytes at each pixel, what memory gives at once, and gives a block at least 128 threads;
/// rows so many that each thread has 64 bytes, which it keeps.
inline GroupNormPlan planGroupNorm(int pixels, int channels, int groups, int bytesOfNumber) {
  GroupNormPlan plan{{pixels, channels, channels / groups, 0}, 0, 0, 0};
  const int kept = 64 / (vectorWidth * bytesOfNumber);
  if (channels % vectorWidth != 0) return plan;
  const int least = std::lcm(plan.shape.groupSize, vectorWidth);
  for (int slice = least; slice <= channels && slice / vectorWidth <= mostThreads; slice += least) {
    if (channels % slice != 0) continue;
    const int across = slice / vectorWidth;
    plan.shape.slice = slice;
    plan.slices = channels / slice;
    plan.rows = std::min((pixels + kept - 1) / kept, mostThreads / across);
    plan.threads = across * plan.rows;
    if (slice * bytesOfNumber >= 32 && plan.threads >= 128) break;
  }
  return plan;
}

}  // namespace continual::cuda
