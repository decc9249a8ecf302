#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <limits>

#include "nn/model_input.h"

namespace continual {

/// Classifier-free guidance (Ho and Salimans, arXiv 2207.12598): unconditional + scale · (conditional − unconditional),
/// at timesteps in [from, to) (arXiv 2404.07724), and the conditional prediction at others.
struct Guidance {
  double scale = 1;
  int64_t from = 0, to = std::numeric_limits<int64_t>::max();

  bool operator==(const Guidance&) const = default;
  bool isOn() const { return scale != 1; }
};

/// Both predictions are those of one batch twice as large.
at::Tensor guided(const std::function<at::Tensor(const ModelInput&)>& predict, const ModelInput& input,
                  const Guidance& guidance, int64_t nullLabel);

}  // namespace continual
