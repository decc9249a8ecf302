#pragma once

#include <ATen/ATen.h>

#include <deque>
#include <functional>
#include <mutex>
#include <vector>

#include "nn/parameters.h"

namespace continual {

/// The gradient of a batch whose parts are differentiated at once: one flat float32 tensor, laid out like the weights.
/// What a part finds for a parameter is added as soon as it is known, but in the parts' order: sums don't depend on
/// timing. So there is one gradient in memory, not one for each part; of a part's own, what waits for another's.
class GradientSum {
 public:
  GradientSum(const ParameterLayout& layout, const at::Tensor& master);

  /// Forgets the sum. `add` follows for each of 0 … parts − 1.
  void begin(int64_t parts);
  /// Adds the gradient of `total(weights)`, which must be a function of all weights.
  void add(int64_t part, const Weights& weights, const std::function<at::Tensor(const Weights&)>& total);

  /// The sum, when all parts are there.
  const at::Tensor& flat() const { return flat_; }

 private:
  void deliver(size_t parameter, int64_t part, const at::Tensor& gradient);

  at::Tensor flat_;
  Weights views_;
  int64_t parts_ = 0;
  struct Arrivals {
    std::mutex mutex;
    int64_t next = 0;                 // the part whose turn it is
    std::vector<at::Tensor> waiting;  // those that came before their turn
  };
  std::deque<Arrivals> arrivals_;  // for each parameter
};

}  // namespace continual
