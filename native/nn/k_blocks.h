#pragma once

#include <optional>
#include <string>
#include <vector>

#include "nn/blocks.h"

namespace continual {

/// A residual block whose norms are scaled and shifted by the embedding, as it is; with `in` ≠ `end` the input is
/// projected without a bias.
struct AdaptiveResnetBlock {
  AdaptiveGroupNorm norm1;
  Conv2d conv1;
  AdaptiveGroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> shortcut;
  Activation activation;

  struct Shape {
    int64_t in, middle, end;
    int64_t groupsIn, groupsMiddle;
  };
  AdaptiveResnetBlock(ParameterLayout& layout, const std::string& name, const Shape& shape, const UNetConfig& config);
  at::Tensor operator()(const Weights& w, const Joined& x, const Condition& condition) const;
};

/// Attention of the pixels to each other, once or twice, each behind a norm that the embedding scales and shifts.
struct AdaptiveAttentionBlock {
  struct Part {
    AdaptiveGroupNorm norm;
    SelfAttention attention;
    at::Tensor operator()(const Weights& w, const at::Tensor& x, const at::Tensor& embedding) const;
  };
  std::optional<Part> first;
  std::optional<Part> second;

  AdaptiveAttentionBlock(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t headChannels,
                         bool twice, const UNetConfig& config);
  at::Tensor operator()(const Weights& w, const at::Tensor& x, const Condition& condition) const;
};

/// diffusers' K blocks: every result is kept, but not the halved one; the lowest level with attention keeps none.
struct KDownBlock {
  std::vector<AdaptiveResnetBlock> resnets;
  std::vector<AdaptiveAttentionBlock> attentions;
  bool keeps, halves;

  KDownBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

/// Takes as many kept feature maps as its level has blocks, and uses the last of them, where it is one.
struct KUpBlock {
  std::vector<AdaptiveResnetBlock> resnets;
  std::vector<AdaptiveAttentionBlock> attentions;
  bool doubles;

  KUpBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

}  // namespace continual
