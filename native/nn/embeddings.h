#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "nn/layers.h"
#include "nn/model_input.h"
#include "nn/unet_config.h"

namespace continual {

/// What a network is told of an image: the embeddings of its timestep and, where it takes some, of its label, added.
class ConditionEmbedding {
 public:
  ConditionEmbedding(ParameterLayout& layout, const UNetConfig& config);
  /// The label's part, and what isn't trained; after all else of the network.
  void addLast(ParameterLayout& layout, const UNetConfig& config);

  /// N × time channels, in the dtype of the input's x_t. `timesteps`: what the network is told of them.
  at::Tensor operator()(const Weights& w, const ModelInput& input) const;

 private:
  struct Perceptron {
    Linear first, second;
    at::Tensor operator()(const Weights& w, const at::Tensor& x) const;
  };

  /// Of timesteps, or of labels that are embedded as timesteps are.
  at::Tensor features(const Weights& w, const at::Tensor& numbers) const;

  TimeEmbedding kind_;
  int64_t channels_;  // of the sines and cosines, or of a row of the table
  bool flipSinToCos_;
  double freqShift_;
  std::optional<Embedding> timeTable_;
  Perceptron time_;
  ClassEmbedding classes_;
  std::optional<Embedding> classTable_;
  std::optional<Perceptron> class_;
  int frequencies_ = -1;
};

}  // namespace continual
