#pragma once

// All kernels but convolutions, of the instruction set that the including file is compiled for.

#include "kernels/add.h"
#include "kernels/attention.h"
#include "kernels/group_norm.h"

namespace continual {
namespace {

template <class T>
constexpr KernelsFor<T> tableWith(const ConvolutionKernels<T>& convolution) {
  return {convolution,          groupNorm<T>, groupNormGradient<T>, attention<T>,
          attentionGradient<T>, addTo<T>,     attentionScratch};
}

}  // namespace
}  // namespace continual
