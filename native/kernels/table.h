#pragma once

// All kernels, of the instruction set that the including file is compiled for.

#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/group_norm.h"
#include "kernels/winograd.h"

namespace continual {
namespace {

constexpr Kernels table{
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

}  // namespace
}  // namespace continual
