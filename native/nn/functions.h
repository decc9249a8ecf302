#pragma once

#include <ATen/ATen.h>

namespace continual {

/// What a convolution adds to its answer in the same pass; undefined for nothing.
struct Summands {
  at::Tensor perImage = {};  // N × C
  at::Tensor image = {};     // N × C × H × W
};

/// conv2d(x, weight, bias) with padding kernel / 2, plus the summands; differentiable. By kernels of our own where they
/// are faster (see `ownConvolution`), else by libtorch's operators.
at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t stride,
                       const Summands& plus = {});

/// Group norm, followed by SiLU if `silu`; differentiable. By a kernel of our own on the CPU where channels are a
/// multiple of sixteen, else by libtorch's operators.
at::Tensor groupNorm(const at::Tensor& x, int64_t groups, const at::Tensor& weight, const at::Tensor& bias, double eps,
                     bool silu);

/// softmax(q·kᵀ / √(head's channels))·v for each head, its channels side by side; N × tokens × C each, differentiable.
/// By a kernel of our own on the CPU for heads of eight channels, else by libtorch's operators.
at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads);

}  // namespace continual
