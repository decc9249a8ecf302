#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>

#include "nn/layers.h"

namespace continual {

/// Attention of the pixels to each other, N × tokens × C. Where heads don't come out even, fewer channels attend than
/// there are.
struct SelfAttention {
  Linear query, key, value, out;
  int64_t heads;

  SelfAttention(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t headChannels);
  at::Tensor operator()(const Weights& w, const at::Tensor& tokens) const;
};

/// Images N × C × H × W as N × H·W × C, and back.
at::Tensor tokensOf(const at::Tensor& x);
at::Tensor imagesOf(const at::Tensor& tokens, const at::Tensor& like);

/// x + attention(norm(x)), divided.
struct AttentionBlock {
  std::optional<GroupNorm> norm;
  SelfAttention attention;
  double divisor;

  AttentionBlock(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t headChannels,
                 std::optional<int64_t> groups, double eps, double divisor = 1);
  at::Tensor operator()(const Weights& w, const at::Tensor& x) const;
};

}  // namespace continual
