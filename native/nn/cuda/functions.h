#pragma once

#include <ATen/ATen.h>

#include <optional>

#include "nn/functions.h"
#include "runtime/random.h"

// The functions of nn/functions.h by kernels of our own on CUDA, differentiable. Nothing where the kernels don't serve:
// on other devices, for other number formats or shapes, and on a GPU that could not compile them (see kernels.h).

namespace continual::cuda {

/// A number for each channel, and one for each image and channel (N × C): both, or neither.
struct Added {
  at::Tensor bias = {}, perImage = {};
};

#ifdef CONTINUAL_DIFFUSION_CUDA

/// Of channels-last x plus what is added to it, with SiLU behind it if `silu`.
std::optional<at::Tensor> groupNorm(const Joined& x, const Added& added, int64_t groups, const at::Tensor& weight,
                                    const at::Tensor& bias, double eps, bool silu);
/// `image` (N × C × H × W) may be undefined. The products are cuDNN's.
std::optional<at::Tensor> convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                                      int64_t stride, const at::Tensor& image);
/// Over the last dimension of x, or of x and `second` beside each other. The products are cuBLAS's.
std::optional<at::Tensor> linear(const at::Tensor& x, const at::Tensor& second, const at::Tensor& weight,
                                 const at::Tensor& bias);
std::optional<at::Tensor> attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads);
std::optional<at::Tensor> upsample(const at::Tensor& x);
/// The numbers that `random.normal(shape)` gives, but for rounding.
std::optional<at::Tensor> normal(Random& random, at::IntArrayRef shape, at::Device device);

#else

inline std::optional<at::Tensor> groupNorm(const Joined&, const Added&, int64_t, const at::Tensor&, const at::Tensor&,
                                           double, bool) {
  return std::nullopt;
}
inline std::optional<at::Tensor> convolution(const at::Tensor&, const at::Tensor&, const at::Tensor&, int64_t,
                                             const at::Tensor&) {
  return std::nullopt;
}
inline std::optional<at::Tensor> linear(const at::Tensor&, const at::Tensor&, const at::Tensor&, const at::Tensor&) {
  return std::nullopt;
}
inline std::optional<at::Tensor> attention(const at::Tensor&, const at::Tensor&, const at::Tensor&, int64_t) {
  return std::nullopt;
}
inline std::optional<at::Tensor> upsample(const at::Tensor&) { return std::nullopt; }
inline std::optional<at::Tensor> normal(Random&, at::IntArrayRef, at::Device) { return std::nullopt; }

#endif

}  // namespace continual::cuda
