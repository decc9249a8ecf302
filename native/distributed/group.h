#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <string>
#include <vector>

#include "runtime/cancellation.h"

namespace continual {

/// What a process tells the others of the step that it was to take.
enum class Standing : int64_t { sound, stopped, failed };

/// The processes that train one model together. Each draws the whole batch of a step, computes the gradient of its
/// share, and all sum these up: so all take the same step, and but for rounding it is the one that a single process
/// would take.
struct Group {
  int64_t rank = 0, size = 1;
  /// Replaces a tensor, contiguous and on the group's device, by its sum over the group's processes; called by all of
  /// them in the same order. Throws Cancelled where the others don't come and it is cancelled, ERR_GROUP where one of
  /// them failed.
  std::function<void(const at::Tensor& flat, const Cancellation& cancellation)> sum = nullptr;
  /// What gradients are summed in: kFloat, or kBFloat16, which halves the bytes that are sent.
  at::ScalarType gradients = at::kFloat;

  /// This process's part of a batch.
  int64_t begin(int64_t count) const { return count * rank / size; }
  int64_t length(int64_t count) const { return count * (rank + 1) / size - begin(count); }
  at::Tensor share(const at::Tensor& t, int64_t dimension) const {
    return t.narrow(dimension, begin(t.size(dimension)), length(t.size(dimension)));
  }

  /// Sums up `values`, and tells all processes how each of them stands. Where one `looks`, it throws ERR_GROUP, which
  /// names the others that stopped or failed. On CUDA looking holds up the device.
  at::Tensor agree(Standing own, const at::Tensor& values, const Cancellation& cancellation, bool looks) const;
  /// The sum of flat float32 gradients, in place.
  void sumGradient(const at::Tensor& flat, const Cancellation& cancellation) const;
};

}  // namespace continual
