#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>

// How our CUDA kernels are shared among blocks and threads. Structs that kernels take are laid out as theirs.

namespace continual::cuda {

/// The first argument of group_norm.cu's functions, its `Shape`.
struct GroupNormShape {
  int pixels, channels, groupSize, slice;
};

/// The second, `Maps`.
struct GroupNormMaps {
  const void *first, *second, *bias, *perImage;
  int split;
};

constexpr int vectorWidth = 4, mostThreads = 384;  // as in vectors.cuh and group_norm.cu

/// How group norm is shared among blocks and threads.
struct GroupNormPlan {
  GroupNormShape shape;
  int slices, across, rows;  // a block's threads are across × rows

  int threads() const { return across * rows; }
  bool possible() const { return rows > 0; }
  /// Whether a batch makes use of a GPU: of few large images libtorch's operators take more blocks.
  bool fills(int images) const { return images * slices >= 256 || shape.pixels <= 64 * rows; }
  /// Bytes for `sums` sums over all rows at a time.
  int sharedMemory(int sums) const { return static_cast<int>(sizeof(float)) * sums * shape.slice * (rows + 1); }
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

/// How sums over rows are shared among blocks: see sums.cu.
struct SumPlan {
  int across, down, slices, parts;  // a block's threads are across × down; slices: blocks beside each other in a row

  int sharedMemory() const { return static_cast<int>(sizeof(float)) * vectorWidth * across * down; }
};

constexpr int mostSums = 512;  // blocks that make use of a GPU
constexpr int fewRows = 2048;  // that one block for each few channels adds up in no time

/// At most `most` blocks. Where one is to do for all rows it is narrow, and so takes more of them at once.
inline SumPlan planSum(int rows, int channels, int most) {
  const int vectors = channels / vectorWidth;
  SumPlan plan{std::min(vectors, most == 1 ? 8 : 32), 0, 0, 0};
  plan.down = 256 / plan.across;
  plan.slices = (vectors + plan.across - 1) / plan.across;
  const int wanted = (rows + 4 * plan.down - 1) / (4 * plan.down);
  plan.parts = std::clamp(most / plan.slices, 1, std::max(wanted, 1));
  return plan;
}

/// The first argument of attention.cu's functions, its `Heads`.
struct AttentionHeads {
  int tokens, channels, each;
  float scale;
};

struct AttentionPlan {
  AttentionHeads heads;
  int blocks, threads;  // blocks of an image

  bool possible() const { return blocks > 0; }
  int sharedMemory(int numbersOfToken) const {
    return static_cast<int>(sizeof(float)) * numbersOfToken * heads.each * heads.tokens;
  }
};

/// For heads of eight channels. A block takes as many as give it up to 256 tokens.
inline AttentionPlan planAttention(int tokens, int channels) {
  AttentionPlan plan{{tokens, channels, 1, 1 / std::sqrt(8.0F)}, 0, 0};
  constexpr int most = 350;  // whose gradient has room in the shared memory that every GPU gives
  if (channels % 8 != 0 || tokens < 1 || tokens > most) return plan;
  const int heads = channels / 8;
  for (int each = 1; each <= heads && each * tokens <= 256; ++each) {
    if (heads % each == 0) plan.heads.each = each;
  }
  plan.blocks = heads / plan.heads.each;
  plan.threads = std::min((plan.heads.each * tokens + 31) / 32 * 32, 256);
  return plan;
}

}  // namespace continual::cuda
