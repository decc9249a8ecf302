// Compiled for AVX-512 (F, BW, DQ, VL), whatever the build is for: see CMakeLists.txt.
// 32 registers of sixteen floats: sums of 8 × 3 products, three for the vectors, one for the number.
#define CONTINUAL_TILE_ROWS 8
#define CONTINUAL_TILE_VECTORS 3

#include "kernels/table.h"

namespace continual {

const Kernels avx512Kernels = table;

}  // namespace continual
