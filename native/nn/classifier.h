#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "nn/layers.h"

namespace continual {

/// A small convolutional network for images of 8 pixels a side and more: three stages of 3×3 convolutions with group
/// norm, halved twice, averaged over the image. Its features are the averaged last stage.
class ClassifierNet {
 public:
  ClassifierNet(int64_t channels, int64_t classes, at::MemoryFormat memoryFormat);

  static constexpr int64_t features = 64;

  struct Output {
    at::Tensor features, logits;
  };
  /// x: N×C×H×W in [−1, 1]. `keep`: N × features mask of dropout, already scaled, or undefined.
  Output operator()(const Weights& w, const at::Tensor& x, const at::Tensor& keep) const;

  const ParameterLayout& layout() const { return layout_; }

 private:
  at::MemoryFormat memoryFormat_;
  ParameterLayout layout_;
  std::vector<Conv2d> convolutions_;
  std::vector<GroupNorm> norms_;
  Linear out_;
};

}  // namespace continual
