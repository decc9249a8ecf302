#include <ATen/Parallel.h>
#include <ATen/Version.h>
#include <ATen/detail/CUDAHooksInterface.h>
#include <c10/core/CachingDeviceAllocator.h>
#include <fcntl.h>
#include <sys/file.h>
#include <torch/version.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "binding/addon.h"
#include "nn/cuda/kernels.h"
#include "runtime/available_memory.h"
#include "runtime/cuda_devices.h"
#include "runtime/processor.h"

namespace continual {

namespace {

Napi::Value cpu(const Napi::CallbackInfo& info) {
  const NativeBf16 bf16 = nativeBf16();
  auto result = Napi::Object::New(info.Env());
  result.Set("capability", Napi::String::New(info.Env(), at::get_cpu_capability()));
  result.Set("bf16", Napi::Boolean::New(info.Env(), bf16.avx512));
  result.Set("amx", Napi::Boolean::New(info.Env(), bf16.amx));
  result.Set("threads", Napi::Number::New(info.Env(), at::get_num_threads()));
  return result;
}

Napi::Value listCudaDevices(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    auto result = Napi::Array::New(info.Env());
    for (const std::string& name : cudaDevices()) {
      result.Set(result.Length(), Napi::String::New(info.Env(), name));
    }
    return result;
  });
}

Napi::Value tryDevice(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    tryCudaDevice(info[0].ToNumber().Int64Value());
    return info.Env().Undefined();
  });
}

at::Device cudaDevice(const Napi::Value& index) {
  return {at::kCUDA, static_cast<c10::DeviceIndex>(index.ToNumber().Int32Value())};
}

Napi::Value tryKernels(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const std::string why = cuda::whyNoKernels(cudaDevice(info[0]));
    return why.empty() ? info.Env().Null() : Napi::Value(Napi::String::New(info.Env(), why));
  });
}

Napi::Value useNoKernels(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    cuda::useNoKernels(cudaDevice(info[0]), info[1].ToString());
    return info.Env().Undefined();
  });
}

// e.g. "13.0", of the CUDA runtime that libtorch carries.
std::string cudaVersion() {
  const auto version = at::detail::getCUDAHooks().versionCUDART();
  return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10);
}

Napi::Value close(const Napi::CallbackInfo& info) {
  state(info.Env()).engine.close();
  return info.Env().Undefined();
}

// The kernel gives the lock back when the file is closed, and so at the end of the process, however it ends.
Napi::Value lockFile(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&]() -> Napi::Value {
    const int file = info[0].ToNumber().Int32Value();
    if (flock(file, LOCK_EX | LOCK_NB) == 0) return Napi::String::New(env, "taken");
    if (errno == EWOULDBLOCK) return Napi::String::New(env, "held");
    if (errno == ENOLCK || errno == ENOSYS || errno == EOPNOTSUPP) return Napi::String::New(env, "unsupported");
    throw Error("ERR_ENGINE", std::string("the file can't be locked: ") + std::strerror(errno));
  });
}

Napi::Value freeMemory(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), static_cast<double>(availableMemory()));
}

Napi::Value cudaMemory(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    c10::CachingAllocator::Stat bytes;
    // There is none before the first tensor.
    auto* allocator = dynamic_cast<c10::DeviceAllocator*>(c10::GetAllocator(at::kCUDA));
    if (allocator != nullptr && allocator->initialized()) {
      const auto stats = allocator->getDeviceStats(cudaDevice(info[0]).index());
      bytes = stats.allocated_bytes[static_cast<size_t>(c10::CachingAllocator::StatType::AGGREGATE)];
    }
    auto result = Napi::Object::New(info.Env());
    result.Set("used", Napi::Number::New(info.Env(), static_cast<double>(bytes.current)));
    result.Set("peak", Napi::Number::New(info.Env(), static_cast<double>(bytes.peak)));
    return result;
  });
}

// Swaps what two names in one file system stand for; false where the system or the file system can't do it in one step.
Napi::Value exchange(const Napi::CallbackInfo& info) {
  const std::string a = info[0].ToString(), b = info[1].ToString();
  const bool done = renameat2(AT_FDCWD, a.c_str(), AT_FDCWD, b.c_str(), RENAME_EXCHANGE) == 0;
  return Napi::Boolean::New(info.Env(), done);
}

}  // namespace

void defineSystem(Napi::Env env, Napi::Object exports) {
  exports.Set("version", Napi::String::New(env, CONTINUAL_DIFFUSION_VERSION));
  exports.Set("cudaVersion",
              at::globalContext().hasCUDART() ? Napi::Value(Napi::String::New(env, cudaVersion())) : env.Null());
  exports.Set("libtorchVersion", Napi::String::New(env, TORCH_VERSION));
  exports.Set("cpu", Napi::Function::New<cpu>(env, "cpu"));
  exports.Set("lockFile", Napi::Function::New<lockFile>(env, "lockFile"));
  exports.Set("exchange", Napi::Function::New<exchange>(env, "exchange"));
  exports.Set("availableMemory", Napi::Function::New<freeMemory>(env, "availableMemory"));
  exports.Set("cudaMemory", Napi::Function::New<cudaMemory>(env, "cudaMemory"));
  exports.Set("close", Napi::Function::New<close>(env, "close"));
  exports.Set("cudaDevices", Napi::Function::New<listCudaDevices>(env, "cudaDevices"));
  exports.Set("tryCudaDevice", Napi::Function::New<tryDevice>(env, "tryCudaDevice"));
  exports.Set("tryCudaKernels", Napi::Function::New<tryKernels>(env, "tryCudaKernels"));
  exports.Set("useNoCudaKernels", Napi::Function::New<useNoKernels>(env, "useNoCudaKernels"));
}

}  // namespace continual
