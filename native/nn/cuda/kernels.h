#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

// Our CUDA kernels on a device: compiled there when they are first wanted, and compared with libtorch's operators.

namespace continual::cuda {

/// Why libtorch's operators serve on a device: our kernels could not be compiled for it, or don't give there what the
/// operators give. Empty where ours serve. The first call for a device takes seconds.
std::string whyNoKernels(at::Device device);

/// From now on libtorch's operators serve on this device, for the reason given; it must not have used ours yet.
void useNoKernels(at::Device device, const std::string& why);

#ifdef CONTINUAL_DIFFUSION_CUDA
/// What is compiled, and the functions of it that are launched.
extern const char* const kernelSource;
std::vector<std::string> kernelFunctions();
#endif

}  // namespace continual::cuda
