#include "nn/resampling.h"

#include "nn/cuda/functions.h"

namespace continual {

at::Tensor upsample(const at::Tensor& x) {
  if (const auto own = cuda::upsample(x)) return *own;
  return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)});
}

Downsample::Downsample(ParameterLayout& layout, const std::string& name, int64_t channels, bool padsAfter_)
    : conv(layout, name, channels, channels, 3, 2), padsAfter(padsAfter_) {}

at::Tensor Downsample::operator()(const Weights& w, const at::Tensor& x) const {
  if (!padsAfter) return conv(w, x);
  return at::conv2d(at::constant_pad_nd(x, {0, 1, 0, 1}), w[conv.weight], w[conv.bias], 2);
}

namespace {

/// 1 3 3 1 in both directions, with the sum `sum`, for each channel. Made on the device, as a recorded graph needs it.
at::Tensor filterFor(const at::Tensor& x, double sum) {
  const at::Tensor taps = 2 - (at::arange(4, x.options()) - 1.5).abs();  // ½ 1½ 1½ ½
  return (at::outer(taps, taps) * (sum / 16)).expand({x.size(1), 1, 4, 4}).contiguous();
}

}  // namespace

at::Tensor filteredDown(const at::Tensor& x, bool reflects) {
  const at::Tensor padded = reflects ? at::reflection_pad2d(x, {1, 1, 1, 1}) : x;
  const int64_t padding = reflects ? 0 : 1;
  return at::conv2d(padded, filterFor(x, 1), {}, 2, padding, 1, x.size(1));
}

at::Tensor filteredUp(const at::Tensor& x, bool reflects) {
  const at::Tensor padded = reflects ? at::reflection_pad2d(x, {1, 1, 1, 1}) : x;
  const int64_t padding = reflects ? 3 : 1;
  return at::conv_transpose2d(padded, filterFor(x, 4), {}, 2, padding, 0, x.size(1));
}

at::Tensor resampled(const at::Tensor& x, Resampling how) {
  switch (how) {
    case Resampling::average:
      return at::avg_pool2d(x, 2);
    case Resampling::nearest:
      return upsample(x);
    case Resampling::filterDown:
      return filteredDown(x, /*reflects=*/false);
    case Resampling::filterUp:
      return filteredUp(x, /*reflects=*/false);
    case Resampling::none:
      break;
  }
  return x;
}

}  // namespace continual
