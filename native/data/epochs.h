#pragma once

#include <cstdint>
#include <vector>

#include "runtime/random.h"

namespace continual {

/// An endless sequence of shuffled epochs over 0 … count − 1, cut into batches of one size: a batch may begin in one
/// epoch and end in the next, so no image is left out and every step has the same shape. A pure function of
/// (seed, first, count, step), but for the two permutations it remembers.
class Epochs {
 public:
  /// `first`: what tells this sequence from others of the same seed, e.g. the step at which the task began.
  std::vector<int64_t> batch(uint64_t seed, int64_t first, int64_t count, int64_t batchSize, int64_t step);

 private:
  struct Shuffled {
    uint64_t seed = 0;
    int64_t first = -1, count = -1, epoch = -1;
    std::vector<int64_t> order;
  };
  const std::vector<int64_t>& order(uint64_t seed, int64_t first, int64_t count, int64_t epoch);

  Shuffled remembered_[2];
};

}  // namespace continual
