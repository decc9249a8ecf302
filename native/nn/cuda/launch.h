#pragma once

// For the files beside this one, of a build with CUDA.

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>
#include <string>

#include "nn/cuda/functions.h"
#include "nn/own_kernels.h"
#include "runtime/cuda_program.h"

namespace continual::cuda {

/// Of a device that has our kernels; else null.
const Program* kernelsFor(at::Device device);
/// For a tensor of such a device, in a number format that they are for; else null.
const Program* kernelsFor(const at::Tensor& x);

/// `function<T, more>`, as it is compiled for tensors of this dtype.
std::string nameFor(const char* function, at::ScalarType dtype, const char* more = "");

/// As vectors can be read of it.
at::Tensor aligned(const at::Tensor& x);

constexpr int64_t mostNumbers = std::numeric_limits<int>::max();
/// Whether all sizes that kernels get fit into an int, and channels into vectors.
bool fits(const at::Tensor& x, int64_t channels);

/// Where a function's gradient finds the kernels that its value was computed by.
void keep(torch::autograd::AutogradContext* context, const Program* program);
const Program& kept(torch::autograd::AutogradContext* context);

// The functions of functions.h, by these kernels; they don't ask whether the kernels serve.
at::Tensor groupNorm(const Program* program, const Joined& x, const Added& added, int64_t groups,
                     const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu);
at::Tensor convolution(const Program* program, const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias,
                       int64_t stride, const at::Tensor& image);
at::Tensor linear(const Program* program, const at::Tensor& x, const at::Tensor& second, const at::Tensor& weight,
                  const at::Tensor& bias);
at::Tensor attention(const Program* program, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);
at::Tensor upsample(const Program* program, const at::Tensor& x);
at::Tensor normal(const Program* program, Random& random, at::IntArrayRef shape, at::Device device);

/// The sum over the rows of a contiguous matrix, in the number format given.
at::Tensor sumRows(const Program& program, const at::Tensor& rows, at::ScalarType dtype);

}  // namespace continual::cuda
