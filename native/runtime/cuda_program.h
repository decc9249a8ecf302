#pragma once

#ifdef CONTINUAL_DIFFUSION_CUDA

#include <cuda.h>

#include <string>
#include <unordered_map>
#include <vector>

namespace continual::cuda {

/// Functions of a CUDA source, on one device. Compiled for the GPU that is there by the NVRTC which libtorch brings
/// along: no toolkit is needed, neither for building nor for this.
class Program {
 public:
  /// Compiles for the current device. `functions`: all that will be launched, with their template arguments. Throws
  /// c10::Error.
  Program(const char* source, const std::vector<std::string>& functions);

  struct Grid {
    int blocks, threadsX, threadsY, sharedMemory;  // the last in bytes
  };

  /// Launches one on the current stream.
  template <class... Arguments>
  void launch(const std::string& function, const Grid& grid, Arguments... arguments) const {
    void* all[] = {&arguments...};
    launchWith(function, grid, all);
  }

 private:
  void launchWith(const std::string& function, const Grid& grid, void** arguments) const;

  std::unordered_map<std::string, CUfunction> functions_;  // of a module that stays until the process ends
};

/// What the compiler makes of a source for a GPU of this capability, e.g. 90: a cubin, or PTX where the GPU is newer
/// than the compiler. `lowered`: the functions' names in it.
struct Compiled {
  std::string code;
  std::vector<std::string> lowered;
};
Compiled compile(const char* source, const std::vector<std::string>& functions, int capability);

}  // namespace continual::cuda

#endif
