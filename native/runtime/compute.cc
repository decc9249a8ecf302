#include "runtime/compute.h"

#include <c10/core/impl/VirtualGuardImpl.h>

#include "runtime/cuda_devices.h"
#include "runtime/error.h"

namespace continual {

at::MemoryFormat Compute::memoryFormat() const { return at::MemoryFormat::ChannelsLast; }

Compute parseCompute(const std::string& device, const std::string& precision, int threads) {
  at::Device parsed(at::kCPU);
  if (device == "cpu") {
  } else if (device == "cuda" || device.rfind("cuda:", 0) == 0) {
    parsed = at::Device(device == "cuda" ? "cuda:0" : device);
    const int64_t count = cudaDeviceCount();
    if (parsed.index() >= count) {
      throw Error("ERR_DEVICE_UNAVAILABLE", "device: '" + device + "' is not there: this libtorch sees " +
                                                std::to_string(count) + " CUDA device(s). Use 'cpu' or another index.");
    }
  } else {
    throw Error("ERR_INVALID_ARGUMENT", "device: expected 'cpu', 'cuda' or 'cuda:N', found '" + device + "'");
  }
  if (precision == "fp32") return {parsed, at::kFloat, false, threads};
  if (precision == "bf16") return {parsed, at::kBFloat16, false, threads};
  if (precision == "tf32" && parsed.is_cuda()) return {parsed, at::kFloat, true, threads};
  throw Error("ERR_INVALID_ARGUMENT",
              "precision: expected 'fp32', 'bf16' or, on CUDA, 'tf32'; found '" + precision + "' on " + device);
}

at::Tensor toDevice(const at::Tensor& onHost, at::Device device) {
  if (!device.is_cuda() || !onHost.device().is_cpu()) return onHost.to(device);
  return onHost.pin_memory().to(onHost.options().device(device), /*non_blocking=*/true);
}

void RunAhead::launched() {
  if (device_.is_cpu()) return;
  rounds_.emplace_back(device_.type());
  rounds_.back().record(c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
  if (rounds_.size() <= 2) return;
  rounds_.front().synchronize();
  rounds_.pop_front();
}

PrecisionScope::PrecisionScope(const Compute& compute) {
  if (!compute.device.is_cuda()) return;
  static std::mutex oneAtATime;
  turn_ = std::unique_lock(oneAtATime);
  auto& context = at::globalContext();
  cublas_ = context.allowTF32CuBLAS();
  cudnn_ = context.allowTF32CuDNN();
  context.setAllowTF32CuBLAS(compute.tf32);
  context.setAllowTF32CuDNN(compute.tf32);
}

PrecisionScope::~PrecisionScope() {
  if (!turn_.owns_lock()) return;
  at::globalContext().setAllowTF32CuBLAS(cublas_);
  at::globalContext().setAllowTF32CuDNN(cudnn_);
}

}  // namespace continual
