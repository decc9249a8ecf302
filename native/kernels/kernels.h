#pragma once

#include <cstdint>

namespace continual {

/// Channels come in multiples of it.
constexpr int64_t channelUnit = 16;

/// Channels of a head of attention.
constexpr int64_t headDim = 8;

/// A bfloat16 number as it lies in memory.
struct BFloat16 {
  uint16_t bits;
};

/// A 3 × 3 convolution of stride 1 with a padding of 1. Images are N×H×W×C throughout.
struct ConvolutionShape {
  int64_t height, width, in, out;
};

/// What is added to a convolution's output; null for nothing.
template <class T>
struct ConvolutionSummands {
  const T* bias;      // out
  const T* perImage;  // images × out
  const T* image;     // images × height × width × out
};

struct GroupNormShape {
  int64_t pixels, channels, groups;
  float eps;
  bool silu;  // followed by SiLU
};

/// Attention, images × tokens × channels.
struct AttentionShape {
  int64_t tokens, channels;
  float scale;  // of the scores
};

/// Convolutions of float32 or bfloat16 numbers; weights lie as O × H × W × I. All are null where there are none.
template <class T>
struct ConvolutionKernels {
  /// Float32 numbers that each of the three below needs room for besides its arguments.
  int64_t (*scratch)(const ConvolutionShape&, int64_t images) = nullptr;
  void (*forward)(const ConvolutionShape&, int64_t images, const T* x, const T* weight, const ConvolutionSummands<T>&,
                  T* y, float* scratch) = nullptr;
  /// dx of dy.
  void (*input)(const ConvolutionShape&, int64_t images, const T* dy, const T* weight, T* dx, float* scratch) = nullptr;
  /// dw of x and dy.
  void (*weight)(const ConvolutionShape&, int64_t images, const T* x, const T* dy, T* dw, float* scratch) = nullptr;
};

/// Kernels for float32 or bfloat16 numbers. Each runs on the calling thread. Those of attention are null where there
/// are none.
template <class T>
struct KernelsFor {
  ConvolutionKernels<T> convolution = {};
  /// Group norm, then SiLU where asked for. `statistics`: images × groups × (mean, 1 / standard deviation), written.
  void (*groupNorm)(const GroupNormShape&, int64_t images, const T* x, const T* weight, const T* bias,
                    float* statistics, T* y) = nullptr;
  /// dx, and what these images add to dweight and dbias (channels each).
  void (*groupNormGradient)(const GroupNormShape&, int64_t images, const T* x, const T* weight, const T* bias,
                            const float* statistics, const T* dy, T* dx, float* dweight, float* dbias) = nullptr;
  /// `statistics`: images × heads × tokens up to a multiple of sixteen × 2, written.
  void (*attention)(const AttentionShape&, int64_t images, const T* q, const T* k, const T* v, float* statistics, T* y,
                    float* scratch) = nullptr;
  void (*attentionGradient)(const AttentionShape&, int64_t images, const T* q, const T* k, const T* v, const T* y,
                            const float* statistics, const T* dy, T* dq, T* dk, T* dv, float* scratch) = nullptr;
  /// sum = (first ? 0 : sum) + a + b, of `count` numbers; b may be null.
  void (*addTo)(int64_t count, bool first, const T* a, const T* b, float* sum) = nullptr;
  /// Numbers that attention and its gradient need room for besides their arguments.
  int64_t (*attentionScratch)(const AttentionShape&) = nullptr;
};

/// Own CPU kernels.
struct Kernels {
  KernelsFor<float> fp32;
  KernelsFor<BFloat16> bf16;
};

#ifdef __x86_64__
extern const Kernels avx2Kernels;
extern const Kernels avx512Kernels;
/// For processors that convert bf16 themselves, and that multiply tiles of it.
extern const KernelsFor<BFloat16> avx512Bf16Kernels;
extern const ConvolutionKernels<BFloat16> amxConvolution;
#endif

}  // namespace continual
