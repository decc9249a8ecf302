#include "runtime/cuda_program.h"

#ifdef CONTINUAL_DIFFUSION_CUDA

#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAFunctions.h>
#include <c10/cuda/CUDAStream.h>
#include <c10/util/Exception.h>
#include <dlfcn.h>
#include <nvrtc.h>

#include <iterator>
#include <memory>

namespace continual::cuda {

namespace {

/// The first of these libraries that is found, loaded only now: a machine without a GPU has no driver.
void* loaded(std::initializer_list<std::string> names) {
  std::string tried;
  for (const std::string& name : names) {
    if (void* const library = dlopen(name.c_str(), RTLD_LAZY | RTLD_LOCAL)) return library;
    const char* const why = dlerror();
    tried += (tried.empty() ? "" : "; ") + (why == nullptr ? name : std::string(why));
  }
  TORCH_CHECK(false, tried);
}

/// Where a function of a library lies, as a pointer of its type.
struct Found {
  void* address;
  template <class Function>
  operator Function*() const {
    return reinterpret_cast<Function*>(address);
  }
};

Found find(void* library, const char* name) {
  void* const address = dlsym(library, name);
  TORCH_CHECK(address != nullptr, "there is no ", name, " in the library that should have it");
  return {address};
}

struct Nvrtc {
  // libtorch's own way to NVRTC knows where it lies, and it where its parts do; but it wants a driver, too.
  void* library = loaded({"libcaffe2_nvrtc.so", "libnvrtc.so." + std::to_string(CUDART_VERSION / 1000)});
  decltype(&nvrtcCreateProgram) createProgram = find(library, "nvrtcCreateProgram");
  decltype(&nvrtcDestroyProgram) destroyProgram = find(library, "nvrtcDestroyProgram");
  decltype(&nvrtcAddNameExpression) addNameExpression = find(library, "nvrtcAddNameExpression");
  decltype(&nvrtcGetLoweredName) loweredName = find(library, "nvrtcGetLoweredName");
  decltype(&nvrtcCompileProgram) compileProgram = find(library, "nvrtcCompileProgram");
  decltype(&nvrtcGetErrorString) errorString = find(library, "nvrtcGetErrorString");
  decltype(&nvrtcGetProgramLogSize) logSize = find(library, "nvrtcGetProgramLogSize");
  decltype(&nvrtcGetProgramLog) log = find(library, "nvrtcGetProgramLog");
  decltype(&nvrtcGetNumSupportedArchs) architectureCount = find(library, "nvrtcGetNumSupportedArchs");
  decltype(&nvrtcGetSupportedArchs) architectures = find(library, "nvrtcGetSupportedArchs");
  decltype(&nvrtcGetCUBINSize) cubinSize = find(library, "nvrtcGetCUBINSize");
  decltype(&nvrtcGetCUBIN) cubin = find(library, "nvrtcGetCUBIN");
  decltype(&nvrtcGetPTXSize) ptxSize = find(library, "nvrtcGetPTXSize");
  decltype(&nvrtcGetPTX) ptx = find(library, "nvrtcGetPTX");
};

struct Driver {
  void* library = loaded({"libcuda.so.1"});
  decltype(&cuModuleLoadData) loadModule = find(library, "cuModuleLoadData");
  decltype(&cuModuleGetFunction) functionOf = find(library, "cuModuleGetFunction");
  decltype(&cuLaunchKernel) launch = find(library, "cuLaunchKernel");
  decltype(&cuGetErrorString) errorString = find(library, "cuGetErrorString");

  void check(CUresult result) const {
    if (result == CUDA_SUCCESS) return;
    const char* text = nullptr;
    errorString(result, &text);
    TORCH_CHECK(false, "CUDA error: ", text == nullptr ? std::to_string(result) : text);
  }
};

const Driver& driver() {
  static const Driver found;
  return found;
}

// The driver's functions want the context that the runtime's make without being asked: a thread of autograd may have
// called none of those yet.
void useContext() { C10_CUDA_CHECK(cudaSetDevice(c10::cuda::current_device())); }

}  // namespace

Compiled compile(const char* source, const std::vector<std::string>& functions, int capability) {
  const Nvrtc nvrtc;
  const auto check = [&](nvrtcResult result) {
    TORCH_CHECK(result == NVRTC_SUCCESS, "NVRTC: ", nvrtc.errorString(result));
  };
  int count = 0, newest = 0;
  check(nvrtc.architectureCount(&count));
  std::vector<int> known(static_cast<size_t>(count));
  check(nvrtc.architectures(known.data()));
  for (const int architecture : known) {
    if (architecture <= capability && architecture > newest) newest = architecture;
  }
  // A cubin, which older drivers take, too, serves all GPUs of its major version from its own on; PTX is for the driver
  // to compile.
  const bool cubin = newest / 10 == capability / 10;
  const std::string target =
      (cubin ? "--gpu-architecture=sm_" : "--gpu-architecture=compute_") + std::to_string(newest);

  nvrtcProgram raw = nullptr;
  check(nvrtc.createProgram(&raw, source, nullptr, 0, nullptr, nullptr));
  const auto destroy = [&](nvrtcProgram p) { nvrtc.destroyProgram(&p); };
  const std::unique_ptr<_nvrtcProgram, decltype(destroy)> program(raw, destroy);
  for (const std::string& function : functions) check(nvrtc.addNameExpression(raw, function.c_str()));
  const char* const options[] = {"--std=c++17", "--ftz=true", target.c_str()};
  const nvrtcResult result = nvrtc.compileProgram(raw, static_cast<int>(std::size(options)), options);
  if (result != NVRTC_SUCCESS) {
    size_t size = 0;
    check(nvrtc.logSize(raw, &size));
    std::string log(size, '\0');
    check(nvrtc.log(raw, log.data()));
    TORCH_CHECK(false, "NVRTC for ", target, ": ", nvrtc.errorString(result), "\n", log.c_str());
  }

  Compiled compiled;
  size_t size = 0;
  check(cubin ? nvrtc.cubinSize(raw, &size) : nvrtc.ptxSize(raw, &size));
  compiled.code.resize(size);
  check(cubin ? nvrtc.cubin(raw, compiled.code.data()) : nvrtc.ptx(raw, compiled.code.data()));
  for (const std::string& function : functions) {
    const char* name = nullptr;
    check(nvrtc.loweredName(raw, function.c_str(), &name));
    compiled.lowered.emplace_back(name);
  }
  return compiled;
}

Program::Program(const char* source, const std::vector<std::string>& functions) {
  cudaDeviceProp properties{};
  C10_CUDA_CHECK(cudaGetDeviceProperties(&properties, c10::cuda::current_device()));
  const Compiled compiled = compile(source, functions, properties.major * 10 + properties.minor);
  useContext();
  CUmodule module = nullptr;
  driver().check(driver().loadModule(&module, compiled.code.data()));
  for (size_t i = 0; i < functions.size(); ++i) {
    driver().check(driver().functionOf(&functions_[functions[i]], module, compiled.lowered[i].c_str()));
  }
}

void Program::launchWith(const std::string& function, const Grid& grid, void** arguments) const {
  useContext();
  const auto at = [](int size) { return static_cast<unsigned>(size); };
  driver().check(driver().launch(functions_.at(function), at(grid.blocks), 1, 1, at(grid.threadsX), at(grid.threadsY),
                                 1, at(grid.sharedMemory), c10::cuda::getCurrentCUDAStream(), arguments, nullptr));
}

}  // namespace continual::cuda

#endif
