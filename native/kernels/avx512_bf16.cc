// Compiled for AVX-512 with its conversions to bf16, whatever the build is for: see CMakeLists.txt.

#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/group_norm.h"

namespace continual {

const KernelsFor<BFloat16> avx512Bf16Kernels{{},
                                             groupNorm<BFloat16>,
                                             groupNormGradient<BFloat16>,
                                             attention<BFloat16>,
                                             attentionGradient<BFloat16>,
                                             addTo<BFloat16>,
                                             attentionScratch};

}  // namespace continual
