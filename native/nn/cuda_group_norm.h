#pragma once

#include <ATen/ATen.h>

#include <string>
#include <utility>
#include <vector>

// Group norm by kernels of our own on CUDA.

namespace continual::cuda {

#ifdef CONTINUAL_DIFFUSION_CUDA
/// What is compiled, and the functions of it that are launched.
extern const char* const groupNormSource;
std::vector<std::string> groupNormFunctions();
#endif

/// Why libtorch's operators serve on a device: our kernels could not be compiled for it, or don't give there what the
/// operators give. Empty where ours serve. The first call for a device takes seconds.
std::string whyNoKernels(at::Device device);

/// From now on libtorch's operators serve on this device, for the reason given; it must not have used ours yet.
void useNoKernels(at::Device device, const std::string& why);

/// Whether our kernels serve `x`.
bool suitsKernels(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, int64_t groups);

/// Of channels-last `x`, with SiLU behind it where asked for. `statistics`, N × groups × (mean, 1 / standard
/// deviation), is written.
at::Tensor groupNorm(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu,
                     const at::Tensor& statistics);

/// dx, and in float32 dweight and dbias, 2 × channels.
std::pair<at::Tensor, at::Tensor> groupNormGradient(const at::Tensor& x, const at::Tensor& weight,
                                                    const at::Tensor& bias, bool silu, const at::Tensor& statistics,
                                                    const at::Tensor& dy);

}  // namespace continual::cuda
