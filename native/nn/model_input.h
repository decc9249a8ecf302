#pragma once

#include <ATen/ATen.h>

namespace continual {

/// What a network is called with: a batch of noisy images.
struct ModelInput {
  at::Tensor xt;         // N×C×H×W
  at::Tensor timesteps;  // int64 N, or float32 where they have fractions
  /// int64 N, or float32 N × D for the identity embedding; undefined for networks without classes.
  at::Tensor labels = {};
  /// float32 N: what the network is told in place of what the schedule has for its timesteps; or undefined.
  at::Tensor told = {};
  /// int64 N, with which each image's dropout is drawn; undefined where nothing is dropped.
  at::Tensor dropoutKeys = {};
};

}  // namespace continual
