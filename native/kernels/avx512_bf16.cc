// Compiled for AVX-512 with its conversions to bf16, whatever the build is for: see CMakeLists.txt.

#include "kernels/table.h"

namespace continual {

const KernelsFor<BFloat16> avx512Bf16Kernels = tableWith<BFloat16>({});

}  // namespace continual
