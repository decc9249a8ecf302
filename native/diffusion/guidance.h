#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <limits>

#include "nn/model_input.h"

namespace continual {

/// A network's prediction for a batch.
using Predict = std::function<at::Tensor(const ModelInput&)>;

/// Guidance away from a weaker prediction: weaker + scale · (prediction − weaker) at timesteps in [from, to) (arXiv
/// 2404.07724), and the prediction itself at others.
struct Guidance {
  double scale = 1;
  int64_t from = 0, to = std::numeric_limits<int64_t>::max();

  bool operator==(const Guidance&) const = default;
  bool isOn() const { return scale != 1; }
};

/// Guided by `weaker`, a second network (arXiv 2406.02507). Where there is none the weaker prediction is the network's
/// own for the null label (Ho and Salimans, arXiv 2207.12598), and both are those of one batch twice as large.
at::Tensor guided(const Predict& predict, const Predict& weaker, const ModelInput& input, const Guidance& guidance,
                  int64_t nullLabel);

}  // namespace continual
