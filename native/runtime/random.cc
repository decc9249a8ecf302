#include "runtime/random.h"

#include <ATen/core/PhiloxRNGEngine.h>

#include <cmath>
#include <numbers>
#include <numeric>

namespace continual {

namespace {

// (0, 1]: never zero, so that its logarithm is finite.
inline float positiveUnit(uint32_t bits) { return static_cast<float>((bits >> 8) + 1) * 0x1p-24F; }
// [0, 1)
inline float unit(uint32_t bits) { return static_cast<float>(bits >> 8) * 0x1p-24F; }

// Maps 64 random bits to [0, range) by their high product: the bias is below range / 2^64.
inline uint64_t below(uint64_t bits, uint64_t range) {
  return static_cast<uint64_t>((static_cast<unsigned __int128>(bits) * range) >> 64);
}

inline uint64_t joined(uint32_t high, uint32_t low) { return (static_cast<uint64_t>(high) << 32) | low; }

}  // namespace

Random::Random(uint64_t seed, Purpose purpose, uint64_t index)
    : seed_(seed), stream_((static_cast<uint64_t>(purpose) << 56) | index) {}

Random::Block Random::block(uint64_t position) const {
  at::Philox4_32 engine(seed_, stream_, position);
  return {engine(), engine(), engine(), engine()};
}

template <class T, class Fill>
void Random::generate(T* out, int64_t count, Fill fill) {
  const int64_t blocks = (count + 3) / 4;
  const uint64_t first = take(count);
  for (int64_t i = 0; i < blocks; ++i) {
    T values[4];
    fill(block(first + static_cast<uint64_t>(i)), values);
    const int64_t kept = std::min<int64_t>(4, count - 4 * i);
    for (int64_t j = 0; j < kept; ++j) out[4 * i + j] = values[j];
  }
}

at::Tensor Random::normal(at::IntArrayRef shape) {
  at::Tensor result = at::empty(shape, at::kFloat);
  generate(result.mutable_data_ptr<float>(), result.numel(), [](const Block& bits, float* out) {
    for (int pair = 0; pair < 4; pair += 2) {  // Box–Muller
      const float radius = std::sqrt(-2.0F * std::log(positiveUnit(bits[pair])));
      const float angle = 2.0F * std::numbers::pi_v<float> * unit(bits[pair + 1]);
      out[pair] = radius * std::cos(angle);
      out[pair + 1] = radius * std::sin(angle);
    }
  });
  return result;
}

at::Tensor Random::uniform(at::IntArrayRef shape, double low, double high) {
  at::Tensor result = at::empty(shape, at::kFloat);
  generate(result.mutable_data_ptr<float>(), result.numel(), [=](const Block& bits, float* out) {
    for (int i = 0; i < 4; ++i) out[i] = static_cast<float>(low + (high - low) * unit(bits[i]));
  });
  return result;
}

at::Tensor Random::integers(int64_t count, int64_t low, int64_t high) {
  at::Tensor result = at::empty({count}, at::kLong);
  const auto range = static_cast<uint64_t>(high - low);
  generate(result.mutable_data_ptr<int64_t>(), count, [=](const Block& bits, int64_t* out) {
    for (int i = 0; i < 4; ++i) {
      // 32 bits each are enough for the ranges drawn here (timesteps, coins, positions in a data set).
      out[i] = low + static_cast<int64_t>(below(static_cast<uint64_t>(bits[i]) << 32, range));
    }
  });
  return result;
}

std::vector<int64_t> Random::permutation(int64_t count) {
  std::vector<int64_t> result(static_cast<size_t>(count));
  std::iota(result.begin(), result.end(), 0);
  for (size_t i = result.size(); i > 1; --i) {  // Fisher–Yates
    const Block bits = block(position_++);
    std::swap(result[i - 1], result[below(joined(bits[0], bits[1]), i)]);
  }
  return result;
}

}  // namespace continual
