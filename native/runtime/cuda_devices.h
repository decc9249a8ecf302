#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace continual {

/// Number of CUDA devices this libtorch can use; 0 where it has no CUDA, or CUDA can't start.
int64_t cudaDeviceCount();

/// What the CUDA devices are called; empty where there is no driver or no device. Throws ERR_DEVICE_UNAVAILABLE with
/// CUDA's reason where it can't start, if this is the process's first question to it.
std::vector<std::string> cudaDevices();

/// Computes a little on a device, with the libraries that a training step needs, and waits for it. Throws what is
/// wrong.
void tryCudaDevice(int64_t index);

}  // namespace continual
