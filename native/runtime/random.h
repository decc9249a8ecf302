#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <vector>

namespace continual {

/// Random numbers come in fours: as many as whole fours have that hold `numbers`. Images that get whole fours have the
/// same ones in any batch.
constexpr int64_t wholeFours(int64_t numbers) { return (numbers + 3) / 4 * 4; }

/// What a stream of random numbers is for, so that no two uses within a learner share numbers.
enum class Purpose : uint64_t {
  initialisation = 1,
  permutation,
  training,
  sampling,
  samplingNoise,
  classifier,
  consolidation,
  evaluation,
  resampling
};

/// Counter-based random numbers, Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11):
/// a pure function of (seed, purpose, index) and the position read so far. So a learner's whole random state is its
/// seed and its step, numbers do not depend on threads, and every device sees the same ones.
class Random {
 public:
  Random(uint64_t seed, Purpose purpose, uint64_t index);

  uint64_t seed() const { return seed_; }
  uint64_t stream() const { return stream_; }
  /// The position of the first of `count` numbers, which whoever asks draws by other means.
  uint64_t take(int64_t count) {
    const uint64_t first = position_;
    position_ += static_cast<uint64_t>((count + 3) / 4);
    return first;
  }

  /// Standard normal, float32, on the CPU.
  at::Tensor normal(at::IntArrayRef shape);
  /// Uniform in [low, high), float32, on the CPU.
  at::Tensor uniform(at::IntArrayRef shape, double low, double high);
  /// `count` integers, uniform in [low, high), int64, on the CPU.
  at::Tensor integers(int64_t count, int64_t low, int64_t high);
  /// A permutation of 0 … count − 1.
  std::vector<int64_t> permutation(int64_t count);

 private:
  using Block = std::array<uint32_t, 4>;
  Block block(uint64_t position) const;
  /// Fills `count` values, four from each block: `fill(block, out)` writes out[0 … 3].
  template <class T, class Fill>
  void generate(T* out, int64_t count, Fill fill);

  uint64_t seed_;
  uint64_t stream_;
  uint64_t position_ = 0;
};

}  // namespace continual
