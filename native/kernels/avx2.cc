// Compiled for AVX2 and FMA, whatever the build is for: see CMakeLists.txt.

#include "kernels/add.h"
#include "kernels/group_norm.h"

namespace continual {

namespace {

// Our convolutions and attention want more registers, of sixteen numbers each: libtorch's are faster here.
template <class T>
constexpr KernelsFor<T> table{.groupNorm = groupNorm<T>, .groupNormGradient = groupNormGradient<T>, .addTo = addTo<T>};

}  // namespace

const Kernels avx2Kernels{table<float>, table<BFloat16>};

}  // namespace continual
