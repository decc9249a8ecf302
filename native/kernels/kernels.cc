#include "kernels/kernels.h"

#include <cstring>

namespace continual {

#if defined(__x86_64__)

extern const Kernels avx512Kernels, avx2Kernels;
extern const ConvolutionKernels<BFloat16> amxConvolution;

namespace {

bool is(const char* capability, const char* name) { return std::strcmp(capability, name) == 0; }

}  // namespace

const Kernels* kernels(const char* capability) {
  return is(capability, "AVX512") ? &avx512Kernels : is(capability, "AVX2") ? &avx2Kernels : nullptr;
}

const ConvolutionKernels<BFloat16>* amxKernels(const char* capability) {
  return is(capability, "AVX512") ? &amxConvolution : nullptr;
}

#else

const Kernels* kernels(const char*) { return nullptr; }

const ConvolutionKernels<BFloat16>* amxKernels(const char*) { return nullptr; }

#endif

}  // namespace continual
