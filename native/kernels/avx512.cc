// Compiled for AVX-512 (F, BW, DQ, VL), whatever the build is for: see CMakeLists.txt.
// 32 registers of sixteen floats: sums of 8 × 3 products, three for the vectors, one for the number.
#define CONTINUAL_TILE_ROWS 8
#define CONTINUAL_TILE_VECTORS 3

#include "kernels/attention.h"
#include "kernels/group_norm.h"
#include "kernels/winograd.h"

namespace continual {

extern const Kernels avx512Kernels;
const Kernels avx512Kernels{
    convolutionScratch,
    convolution,
    convolutionInput,
    convolutionWeight,
    groupNorm<float>,
    groupNorm<BFloat16>,
    groupNormGradient<float>,
    groupNormGradient<BFloat16>,
    attentionScratch,
    attention<float>,
    attention<BFloat16>,
    attentionGradient<float>,
    attentionGradient<BFloat16>,
};

}  // namespace continual
