#pragma once

#include <optional>
#include <vector>

#include "nn/blocks.h"

namespace continual {

/// As DownBlock, for images of three channels, which a second way carries along, halved at each block: what it carries
/// is projected and added (NCSN++, arXiv 2011.13456).
struct SkipDownBlock {
  std::vector<AttentionBlock> attentions;
  std::vector<ResnetBlock> resnets;
  struct Halving {
    ResnetBlock resnet;
    Conv2d skip;
  };
  std::optional<Halving> halving;

  SkipDownBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

/// As UpBlock; each adds its share to images of three channels, which grow along. Attention comes once, at the end.
struct SkipUpBlock {
  std::optional<AttentionBlock> attention;
  std::vector<ResnetBlock> resnets;
  struct Doubling {
    ResnetBlock resnet;
    Conv2d skip;
    GroupNorm skipNorm;
  };
  std::optional<Doubling> doubling;

  SkipUpBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& config);
  void operator()(const Weights& w, Features& f, const Condition& condition) const;
};

}  // namespace continual
