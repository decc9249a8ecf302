#include "kernels/kernels.h"

namespace continual {

#if defined(__x86_64__)

extern const Kernels avx512Kernels, avx2Kernels;

const Kernels* kernels() {
  static const Kernels* const best = [] {
    __builtin_cpu_init();
    const bool avx512 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (avx512) return &avx512Kernels;
    const bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    return avx2 ? &avx2Kernels : static_cast<const Kernels*>(nullptr);
  }();
  return best;
}

#else

const Kernels* kernels() { return nullptr; }

#endif

}  // namespace continual
