#include "nn/dropout.h"

#include <algorithm>

namespace continual {

namespace {

// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014): numbers of a
// counter, for each image from a beginning of its own.
constexpr uint64_t increment = 0x9e3779b97f4a7c15, factor1 = 0xbf58476d1ce4e5b9, factor2 = 0x94d049bb133111eb;

uint64_t mixed(uint64_t z) {
  z = (z ^ (z >> 30)) * factor1;
  z = (z ^ (z >> 27)) * factor2;
  return z ^ (z >> 31);
}

// Of numbers whose high bits are random, those below the limit are dropped.
constexpr int keptBits = 24;
int64_t limitFor(double probability) { return static_cast<int64_t>(probability * (1 << keptBits)); }

/// The same for tensors, on any device: int64 numbers wrap around as unsigned ones do.
at::Tensor mixed(const at::Tensor& z) {
  const auto shifted = [](const at::Tensor& t, int64_t by) {
    return at::bitwise_and(at::bitwise_right_shift(t, by), (int64_t{1} << (64 - by)) - 1);
  };
  const at::Tensor a = at::bitwise_xor(z, shifted(z, 30)) * static_cast<int64_t>(factor1);
  const at::Tensor b = at::bitwise_xor(a, shifted(a, 27)) * static_cast<int64_t>(factor2);
  return at::bitwise_xor(b, shifted(b, 31));
}

at::Tensor beginnings(const at::Tensor& keys, int64_t layer) {
  return mixed(keys + static_cast<int64_t>(static_cast<uint64_t>(layer) << 40));
}

/// 0 or 1 / (1 − probability) in the order N × H × W × C.
at::Tensor factorsOnHost(const at::Tensor& starts, int64_t perImage, int64_t limit, float scale) {
  const at::Tensor result = at::empty({starts.size(0), perImage}, at::kFloat);
  float* out = result.mutable_data_ptr<float>();
  for (int64_t i = 0; i < starts.size(0); ++i) {
    uint64_t counter = static_cast<uint64_t>(starts.const_data_ptr<int64_t>()[i]);
    for (int64_t j = 0; j < perImage; ++j) {
      counter += increment;
      *out++ = static_cast<int64_t>(mixed(counter) >> (64 - keptBits)) < limit ? 0.0F : scale;
    }
  }
  return result;
}

at::Tensor factorsOnDevice(const at::Tensor& starts, int64_t perImage, int64_t limit, float scale) {
  const at::Tensor counters = at::arange(1, perImage + 1, starts.options()) * static_cast<int64_t>(increment);
  const at::Tensor high = at::bitwise_and(at::bitwise_right_shift(mixed(starts.unsqueeze(1) + counters), 64 - keptBits),
                                          (1 << keptBits) - 1);
  return (high >= limit).to(at::kFloat) * scale;
}

}  // namespace

at::Tensor Dropout::operator()(const at::Tensor& x, int64_t layer) const {
  if (!keys.defined() || probability == 0) return x;
  const at::Tensor starts = beginnings(keys, layer).contiguous();
  const float scale = probability < 1 ? static_cast<float>(1 / (1 - probability)) : 0.0F;
  const int64_t images = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const at::Tensor factors =
      (x.is_cpu() ? factorsOnHost : factorsOnDevice)(starts, channels * height * width, limitFor(probability), scale);
  return x * factors.view({images, height, width, channels}).permute({0, 3, 1, 2}).to(x.scalar_type());
}

}  // namespace continual
