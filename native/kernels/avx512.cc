// Compiled for AVX-512 (F, BW, DQ, VL), whatever the build is for: see CMakeLists.txt.

#include "kernels/table.h"
#include "kernels/winograd.h"

namespace continual {

const Kernels avx512Kernels{tableWith<float>({convolutionScratch, convolution, convolutionInput, convolutionWeight}),
                            tableWith<BFloat16>({})};

}  // namespace continual
