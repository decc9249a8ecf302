#pragma once

#include <ATen/ATen.h>
#include <c10/core/Event.h>

#include <deque>
#include <mutex>
#include <string>

namespace continual {

/// Where and in which number format a network computes. Masters, optimiser state and losses are float32 everywhere.
struct Compute {
  at::Device device;
  at::ScalarType dtype;  // kFloat or kBFloat16
  bool tf32;             // CUDA only: float32 products in TF32
  int threads = 0;       // of the CPU; 0: libtorch's default

  at::MemoryFormat memoryFormat() const;
};

/// `device`: `cpu`, `cuda` or `cuda:N`; `precision`: `fp32`, `tf32` or `bf16`; `threads` as in Compute. Throws
/// ERR_DEVICE_UNAVAILABLE or ERR_INVALID_ARGUMENT.
Compute parseCompute(const std::string& device, const std::string& precision, int threads = 0);

/// Copies to the device without waiting for it: what the host goes on to do overlaps with what the device is at.
at::Tensor toDevice(const at::Tensor& onHost, at::Device device);

/// Keeps the host at most two rounds of work ahead of a device, so that the device never idles and nothing piles up.
class RunAhead {
 public:
  explicit RunAhead(at::Device device) : device_(device) {}
  /// A round was launched; waits for the one two before it.
  void launched();

 private:
  at::Device device_;
  std::deque<c10::Event> rounds_;
};

/// While it lives, float32 products on CUDA follow `compute.tf32`. libtorch keeps that switch for the whole process, so
/// learners of other environments wait their turn: a step holds it from its first product to its last.
class PrecisionScope {
 public:
  explicit PrecisionScope(const Compute& compute);
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  std::unique_lock<std::mutex> turn_;  // held on CUDA only
  bool cublas_ = false;
  bool cudnn_ = false;
};

}  // namespace continual
