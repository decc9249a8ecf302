#include "kernels/kernels.h"

#include <cstring>

namespace continual {

#if defined(__x86_64__)

extern const Kernels avx512Kernels, avx2Kernels;

const Kernels* kernels(const char* capability) {
  const auto is = [capability](const char* name) { return std::strcmp(capability, name) == 0; };
  return is("AVX512") ? &avx512Kernels : is("AVX2") ? &avx2Kernels : nullptr;
}

#else

const Kernels* kernels(const char*) { return nullptr; }

#endif

}  // namespace continual
