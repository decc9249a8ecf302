// Compiled for AVX-512 (F, BW, DQ, VL), whatever the build is for: see CMakeLists.txt.

#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/group_norm.h"
#include "kernels/winograd.h"

namespace continual {

const Kernels avx512Kernels{
    {{convolutionScratch, convolution, convolutionInput, convolutionWeight},
     groupNorm<float>,
     groupNormGradient<float>,
     attention<float>,
     attentionGradient<float>,
     addTo<float>,
     attentionScratch},
    {{},
     groupNorm<BFloat16>,
     groupNormGradient<BFloat16>,
     attention<BFloat16>,
     attentionGradient<BFloat16>,
     addTo<BFloat16>,
     attentionScratch},
};

}  // namespace continual
