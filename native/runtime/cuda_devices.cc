#include "runtime/cuda_devices.h"

#include <ATen/ATen.h>
#include <ATen/detail/CUDAHooksInterface.h>
#ifdef CONTINUAL_DIFFUSION_CUDA
#include <cuda_runtime_api.h>
#endif

#include "runtime/error.h"

namespace continual {

namespace {

class Listener : public c10::WarningHandler {
 public:
  void process(const c10::Warning& warning) override { heard = warning.msg(); }
  std::string heard;
};

std::string deviceName([[maybe_unused]] int64_t index) {
#ifdef CONTINUAL_DIFFUSION_CUDA
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, static_cast<int>(index)) == cudaSuccess) return properties.name;
#endif
  return "CUDA device";
}

double convolutionAndProduct(at::Device device) {
  const auto options = at::TensorOptions(device).dtype(at::kFloat);
  const at::Tensor x = at::ones({1, 8, 8, 8}, options), weight = at::ones({8, 8, 3, 3}, options);
  const at::Tensor y = at::conv2d(x, weight, {}, 1, 1).view({8, 64});
  return at::mm(y, y.t()).sum().item<double>();
}

}  // namespace

int64_t cudaDeviceCount() { return at::globalContext().hasCUDA() ? at::detail::getCUDAHooks().deviceCount() : 0; }

std::vector<std::string> cudaDevices() {
  // libtorch returns 0, and says why as a warning, once in a process.
  Listener listener;
  const c10::WarningUtils::WarningHandlerGuard guard(&listener);
  const int64_t count = cudaDeviceCount();
  if (count == 0 && !listener.heard.empty()) throw Error("ERR_DEVICE_UNAVAILABLE", listener.heard);
  std::vector<std::string> names;
  for (int64_t i = 0; i < count; ++i) names.push_back(deviceName(i));
  return names;
}

void tryCudaDevice(int64_t index) {
  // Of small whole numbers, and so the same everywhere to the last bit.
  const double expected = convolutionAndProduct(at::kCPU);
  const double found = convolutionAndProduct(at::Device(at::kCUDA, static_cast<c10::DeviceIndex>(index)));
  if (found != expected) {
    throw Error("ERR_DEVICE_UNAVAILABLE", "a convolution and a product on cuda:" + std::to_string(index) + " gave " +
                                              std::to_string(found) + "; expected " + std::to_string(expected));
  }
}

}  // namespace continual
