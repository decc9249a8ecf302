#pragma once

#include <ATen/ATen.h>

#include <cstdint>

namespace continual {

/// Dropout of a batch: a function of each image's key, the layer and the place in the feature map. So it depends
/// neither on how a batch is split nor on the device.
struct Dropout {
  at::Tensor keys;  // int64 N; undefined: nothing is dropped
  double probability = 0;

  /// x with zeros for what is dropped, and the rest divided by 1 − probability.
  at::Tensor operator()(const at::Tensor& x, int64_t layer) const;
};

}  // namespace continual
