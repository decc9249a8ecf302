#pragma once

// All kernels, of the instruction set that the including file is compiled for.

#include "kernels/attention.h"
#include "kernels/group_norm.h"
#include "kernels/winograd.h"

namespace continual {
namespace {

constexpr Kernels table{
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

}  // namespace
}  // namespace continual
