#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "nn/attention_block.h"
#include "nn/resnet.h"

namespace continual {

/// What blocks hand on: the feature maps, those that the way up is still to take, and the images that skip blocks carry
/// along, small or large.
struct Features {
  at::Tensor x;
  std::vector<at::Tensor> kept;
  at::Tensor skip = {};

  at::Tensor takeKept();
};

/// Where a block stands in its U-Net: the beginning of its names, its kind, and its channels.
struct BlockPlace {
  std::string name;
  BlockKind kind;
  int64_t in, out;
  bool isLast;         // on the way down at the lowest resolution, on the way up at the highest: it doesn't resample
  int64_t before = 0;  // on the way up: the channels that come in, where `in` are those kept of the level above
};

/// A run of residual blocks at one resolution, each followed by its attention where there are some, and what leads to
/// the next resolution. Each result is kept.
struct DownBlock {
  std::vector<AttentionBlock> attentions;
  std::vector<ResnetBlock> resnets;
  std::variant<std::monostate, Downsample, ResnetBlock> resample;

  DownBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

/// Two residual blocks at the lowest resolution, with attention between them.
struct MiddleBlock {
  std::optional<AttentionBlock> attention;
  ResnetBlock first, second;

  MiddleBlock(ParameterLayout& layout, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

/// A run of residual blocks, each of which also takes one kept feature map, the last first.
struct UpBlock {
  std::vector<AttentionBlock> attentions;
  std::vector<ResnetBlock> resnets;
  std::variant<std::monostate, Conv2d, ResnetBlock> resample;

  UpBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

/// Channels that come into each residual block: on the way down, and on the way up with the kept ones.
std::vector<int64_t> inputsDown(const BlockPlace& place, const UNetConfig& config);
std::vector<int64_t> inputsUp(const BlockPlace& place, const UNetConfig& config);

}  // namespace continual
