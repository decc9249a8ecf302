#pragma once

#include <ATen/ATen.h>

#include "nn/dropout.h"

namespace continual {

/// What all blocks of a network are told besides their feature maps.
struct Condition {
  at::Tensor embedding;  // of timesteps and labels, N × time channels
  at::Tensor activated;  // the network's activation of it, taken once
  Dropout dropout;
};

}  // namespace continual
