#pragma once

// All kernels, of the instruction set that the including file is compiled for.

#include "kernels/attention.h"
#include "kernels/group_norm.h"
#include "kernels/winograd.h"

namespace continual {
namespace {

template <class T>
constexpr KernelsFor<T> tableFor{groupNorm<T>, groupNormGradient<T>, attention<T>, attentionGradient<T>};

constexpr Kernels table{{lanes, convolutionScratch, convolution, convolutionInput, convolutionWeight},
                        attentionScratch,
                        tableFor<float>,
                        tableFor<BFloat16>};

}  // namespace
}  // namespace continual
