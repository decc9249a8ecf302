#pragma once

#include <ATen/ATen.h>

namespace continual {

/// What a network is called with: a batch of noisy images.
struct ModelInput {
  at::Tensor xt;         // N×C×H×W
  at::Tensor timesteps;  // int64 N, or float32 where they have fractions
  /// int64 N, or float32 N × D for the identity embedding; undefined for networks without classes.
  at::Tensor labels = {};
};

}  // namespace continual
