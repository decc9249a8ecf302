#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <variant>
#include <vector>

#include "nn/embeddings.h"
#include "nn/k_blocks.h"
#include "nn/layers.h"
#include "nn/model_input.h"
#include "nn/skip_blocks.h"
#include "nn/unet_config.h"

namespace continual {

using AnyDownBlock = std::variant<DownBlock, SkipDownBlock, KDownBlock>;
using AnyUpBlock = std::variant<UpBlock, SkipUpBlock, KUpBlock>;

/// diffusers' `UNet2DModel`, with its parameter names: (x_t, t) → prediction. It holds no weights: they are passed in.
class UNet {
 public:
  UNet(const UNetConfig& config, at::MemoryFormat memoryFormat);

  const UNetConfig& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  bool isConditional() const { return config_.classEmbedding != ClassEmbedding::none; }
  /// The label that stands for none, in a network that learned to do without: the table's last row.
  int64_t nullLabel() const { return config_.classRows - 1; }

  /// The prediction, N × outChannels × H × W. The input's x_t has the weights' dtype.
  at::Tensor operator()(const Weights& w, const ModelInput& input) const;

 private:
  UNetConfig config_;
  at::MemoryFormat memoryFormat_;
  ParameterLayout layout_;
  Conv2d convIn_;
  ConditionEmbedding embedding_;
  std::vector<AnyDownBlock> down_;
  std::optional<MiddleBlock> middle_;
  std::vector<AnyUpBlock> up_;
  GroupNorm normOut_;
  Conv2d convOut_;
};

}  // namespace continual
