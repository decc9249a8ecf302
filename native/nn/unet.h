#pragma once

#include <ATen/ATen.h>

#include <optional>
#include <string>
#include <vector>

#include "nn/layers.h"
#include "nn/model_input.h"

namespace continual {

/// What the labels of a conditional network become, which is added to the embedding of the timestep: a row of a table
/// for each, what a timestep becomes, or the label itself.
enum class ClassEmbedding { none, table, timestep, identity };

/// The options of diffusers' `UNet2DModel` that the engine has; lib/config/unet.ts documents and checks them.
struct UNetConfig {
  int64_t sampleSize, inChannels, outChannels;
  std::vector<int64_t> blockOutChannels;
  std::vector<bool> downAttention, upAttention;
  int64_t layersPerBlock, normNumGroups;
  double normEps;
  int64_t attentionHeadDim;  // 0: one head
  bool midAttention, flipSinToCos;
  double freqShift;
  ClassEmbedding classEmbedding = ClassEmbedding::none;
  int64_t classRows = 0;  // of the table

  /// Width of the timesteps' embedding, and of the labels', which is added to it.
  int64_t timeChannels() const { return 4 * blockOutChannels.front(); }
};

struct ResnetBlock {
  GroupNorm norm1;
  Conv2d conv1;
  Linear timeProjection;
  GroupNorm norm2;
  Conv2d conv2;
  std::optional<Conv2d> shortcut;

  ResnetBlock(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, const UNetConfig& config);
  at::Tensor operator()(const Weights& w, const Joined& x, const at::Tensor& time) const;
};

struct AttentionBlock {
  GroupNorm norm;
  Linear query, key, value, out;
  int64_t heads;

  AttentionBlock(ParameterLayout& layout, const std::string& name, int64_t channels, const UNetConfig& config);
  at::Tensor operator()(const Weights& w, const at::Tensor& x) const;
};

/// A run of residual blocks at one resolution, each followed by its attention (`attentions` is empty or as long as
/// `resnets`, but one shorter in the middle block), and the convolution that leads to the next resolution.
struct UNetBlock {
  std::vector<AttentionBlock> attentions;
  std::vector<ResnetBlock> resnets;
  std::optional<Conv2d> resample;
};

/// diffusers' `UNet2DModel`, with its parameter names: (x_t, t) → prediction. It holds no weights: they are passed in.
class UNet {
 public:
  UNet(const UNetConfig& config, at::MemoryFormat memoryFormat);

  const UNetConfig& config() const { return config_; }
  const ParameterLayout& layout() const { return layout_; }
  bool isConditional() const { return config_.classEmbedding != ClassEmbedding::none; }
  /// The label that stands for none, in a network that learned to do without: the table's last row.
  int64_t nullLabel() const { return config_.classRows - 1; }

  /// The prediction, N×C×H×W in the weights' dtype, which is that of the input's x_t too.
  at::Tensor operator()(const Weights& w, const ModelInput& input) const;

 private:
  /// Sines and cosines of timesteps, N × channels of the first level.
  at::Tensor sinusoids(const at::Tensor& timesteps, at::ScalarType dtype) const;
  /// Of the timesteps, and of the labels where the network takes some: N × time channels.
  at::Tensor embedding(const Weights& w, const ModelInput& input) const;

  UNetConfig config_;
  at::MemoryFormat memoryFormat_;
  ParameterLayout layout_;
  Conv2d convIn_;
  Linear time1_, time2_;
  std::optional<Embedding> classTable_;
  std::optional<Linear> class1_, class2_;
  std::vector<UNetBlock> down_;
  UNetBlock middle_;
  std::vector<UNetBlock> up_;
  GroupNorm normOut_;
  Conv2d convOut_;
};

}  // namespace continual
