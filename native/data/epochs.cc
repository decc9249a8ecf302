#include "data/epochs.h"

namespace continual {

const std::vector<int64_t>& Epochs::order(uint64_t seed, int64_t first, int64_t count, int64_t epoch) {
  Shuffled& shuffled = remembered_[epoch % 2];
  if (shuffled.seed != seed || shuffled.first != first || shuffled.count != count || shuffled.epoch != epoch) {
    // 32 bits of step, 24 of epoch: far beyond any run, and never the same index twice within it.
    const uint64_t index = (static_cast<uint64_t>(first) << 24 | static_cast<uint64_t>(epoch)) & ((1ULL << 56) - 1);
    shuffled = {seed, first, count, epoch, Random(seed, Purpose::permutation, index).permutation(count)};
  }
  return shuffled.order;
}

std::vector<int64_t> Epochs::batch(uint64_t seed, int64_t first, int64_t count, int64_t batchSize, int64_t step) {
  std::vector<int64_t> result;
  result.reserve(static_cast<size_t>(batchSize));
  for (int64_t i = step * batchSize; i < (step + 1) * batchSize; ++i) {
    result.push_back(order(seed, first, count, i / count)[static_cast<size_t>(i % count)]);
  }
  return result;
}

}  // namespace continual
