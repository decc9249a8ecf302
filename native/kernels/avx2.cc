// Compiled for AVX2 and FMA, whatever the build is for: see CMakeLists.txt.

#include "kernels/add.h"
#include "kernels/group_norm.h"
#include "kernels/winograd.h"

namespace continual {

namespace {

// Our attention wants the registers of AVX-512: libtorch's is faster here.
template <class T>
constexpr KernelsFor<T> table(const ConvolutionKernels<T>& convolution) {
  return {.convolution = convolution,
          .groupNorm = groupNorm<T>,
          .groupNormGradient = groupNormGradient<T>,
          .addTo = addTo<T>};
}

}  // namespace

const Kernels avx2Kernels{table<float>({convolutionScratch, convolution, convolutionInput, convolutionWeight}),
                          table<BFloat16>({})};

}  // namespace continual
