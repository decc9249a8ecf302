#pragma once

#include <ATen/ATen.h>

#include <utility>

namespace continual {

/// Feature maps beside each other in channels: one or, where kernels read them apart, two.
struct Joined {
  at::Tensor first, second = {};

  Joined(at::Tensor one) : first(std::move(one)) {}  // NOLINT: any feature map is one
  /// The two; joined at once where nothing reads them apart, on the CPU.
  Joined(const at::Tensor& one, const at::Tensor& other);

  int64_t channels() const { return first.size(1) + (second.defined() ? second.size(1) : 0); }
  at::Tensor whole() const { return second.defined() ? at::cat({first, second}, 1) : first; }
};

/// What a convolution adds to its output in the same pass; undefined for nothing.
struct Summands {
  at::Tensor perImage = {};  // N × C
  at::Tensor image = {};     // N × C × H × W
};

/// conv2d(x, weight, bias) with padding kernel / 2, plus the summands; differentiable. By kernels of our own where they
/// are faster (see `ownConvolution`), else by libtorch's operators.
at::Tensor convolution(const Joined& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                       const Summands& plus = {});

/// x·weightᵀ + bias over the last dimension; differentiable.
at::Tensor linear(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias);

/// Group norm, followed by SiLU if `silu`; differentiable. By a kernel of our own on CUDA, and on the CPU where
/// channels are a multiple of sixteen, else by libtorch's operators.
at::Tensor groupNorm(const Joined& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps,
                     bool silu);

/// silu(norm(conv2d(x) + bias + perImage)), `perImage` N × C; differentiable. On CUDA in one pass less than the two.
at::Tensor convolutionNormSilu(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                               const at::Tensor& perImage, int64_t groups, const at::Tensor& normWeight,
                               const at::Tensor& normBias, double eps);

/// softmax(q·kᵀ / √(head's channels))·v for each head, its channels side by side; N × tokens × C each, differentiable.
/// By a kernel of our own for heads of eight channels, else by libtorch's operators.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads);

/// Images twice as high and wide, every pixel four times; differentiable.
at::Tensor upsample(const at::Tensor& x);

enum class Activation { silu, mish, gelu, relu };
at::Tensor activated(const at::Tensor& x, Activation activation);

}  // namespace continual
