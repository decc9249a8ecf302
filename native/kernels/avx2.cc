// Compiled for AVX2 with FMA, whatever the build is for: see CMakeLists.txt.
// 16 registers of eight floats: sums of 4 × 1 products times two, two for the vector, one for the number.
#define CONTINUAL_TILE_ROWS 4
#define CONTINUAL_TILE_VECTORS 1

#include "kernels/table.h"

namespace continual {

const Kernels avx2Kernels = table;

}  // namespace continual
