#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <vector>

#include "nn/functions.h"

namespace continual {

/// What the labels of a conditional network become, which is added to the embedding of the timestep: a row of a table
/// for each, what a timestep becomes, or the label itself.
enum class ClassEmbedding { none, table, timestep, identity };

/// What a timestep becomes: sines and cosines of it, or of the logarithm of a noise level at random frequencies that
/// are not trained, or a row of a table.
enum class TimeEmbedding { positional, fourier, learned };

/// The kinds of a level's blocks, on the way down and up: diffusers' DownBlock2D, AttnDownBlock2D,
/// ResnetDownsampleBlock2D, SkipDownBlock2D, AttnSkipDownBlock2D, KDownBlock2D and KCrossAttnDownBlock2D, and those up.
enum class BlockKind { plain, attention, resnet, skip, attentionSkip, k, kAttention };

/// The options of diffusers' `UNet2DModel`, with its defaults; lib/config/unet.ts documents and checks them.
struct UNetConfig {
  int64_t sampleHeight = 0, sampleWidth = 0;  // 0: not known, so that nothing can be drawn
  int64_t inChannels = 3, outChannels = 3;
  std::vector<int64_t> blockOutChannels;
  std::vector<BlockKind> down, up;
  int64_t layersPerBlock = 2;
  std::optional<int64_t> normNumGroups = 32;  // none: a quarter of the channels, at most 32
  double normEps = 1e-5;
  std::optional<int64_t> attentionHeadDim = 8;  // none: one head
  bool middle = true, midAttention = true;
  std::optional<int64_t> midAttentionGroups = {};  // none: as the other norms, or no norm where time scales and shifts
  double midScale = 1;                             // what the sums in the middle block are divided by
  bool downsampleByResnet = false, upsampleByResnet = false;  // of blocks with attention
  bool padsAfter = false;                                     // halving convolutions pad right and bottom only
  bool timeScalesAndShifts = false;
  Activation activation = Activation::silu;
  double dropout = 0;
  bool centersInput = false;
  TimeEmbedding timeEmbedding = TimeEmbedding::positional;
  int64_t timeRows = 0;          // of the learned embedding's table
  int64_t timeEmbeddingDim = 0;  // 0: four times the channels of the first level
  bool flipSinToCos = true;
  double freqShift = 0;
  ClassEmbedding classEmbedding = ClassEmbedding::none;
  int64_t classRows = 0;  // of the table

  /// Width of the timesteps' embedding, and of the labels', which is added to it.
  int64_t timeChannels() const { return timeEmbeddingDim > 0 ? timeEmbeddingDim : 4 * blockOutChannels.front(); }
  /// Of norms of so many channels where nothing else is said.
  int64_t groupsOf(int64_t channels) const { return normNumGroups.value_or(quarterGroups(channels)); }
  /// A group for every four channels, at most 32.
  static int64_t quarterGroups(int64_t channels) { return std::min<int64_t>(channels / 4, 32); }
  /// Channels of a head of a level with so many channels.
  int64_t headChannels(int64_t level) const { return attentionHeadDim.value_or(level); }
};

}  // namespace continual
