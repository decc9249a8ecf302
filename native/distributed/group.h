#pragma once

#include <ATen/ATen.h>

#include <functional>

namespace continual {

/// The processes that train one model together. Each draws the whole batch of a step, computes the gradient of its
/// share, and all sum these up: so all take the same step, and but for rounding it is the one that a single process
/// would take.
struct Group {
  int64_t rank = 0, size = 1;
  /// Replaces a flat tensor by its sum over the group's processes; called by all of them in the same order.
  std::function<void(const at::Tensor& flat)> sum = nullptr;

  /// This process's part of a batch.
  int64_t begin(int64_t count) const { return count * rank / size; }
  int64_t length(int64_t count) const { return count * (rank + 1) / size - begin(count); }
  at::Tensor share(const at::Tensor& t, int64_t dimension) const {
    return t.narrow(dimension, begin(t.size(dimension)), length(t.size(dimension)));
  }
};

}  // namespace continual
