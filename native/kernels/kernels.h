#pragma once

#include <cstdint>

namespace continual {

/// A bfloat16 number as it lies in memory.
struct BFloat16 {
  uint16_t bits;
};

/// A 3 × 3 convolution of stride 1 with a padding of 1. Images are N×H×W×C throughout, and channels multiples of
/// sixteen.
struct ConvolutionShape {
  int64_t height, width, in, out;
};

/// What is added to a convolution's answer; null for nothing.
struct ConvolutionSummands {
  const float* bias;      // out
  const float* perImage;  // images × out
  const float* image;     // images × height × width × out
};

struct GroupNormShape {
  int64_t pixels, channels, groups;
  float eps;
  bool silu;  // followed by SiLU
};

/// Attention of heads of eight channels, images × tokens × channels; channels are a multiple of sixteen.
struct AttentionShape {
  int64_t tokens, channels;
  float scale;  // of the scores
};

/// Own CPU kernels for one instruction set. Each runs on the calling thread; weights lie as O × H × W × I.
struct Kernels {
  /// Numbers that each of the three below needs room for besides its arguments.
  int64_t (*scratch)(const ConvolutionShape&, int64_t images);
  void (*convolution)(const ConvolutionShape&, int64_t images, const float* x, const float* weight,
                      const ConvolutionSummands&, float* y, float* scratch);
  /// dx of dy.
  void (*convolutionInput)(const ConvolutionShape&, int64_t images, const float* dy, const float* weight, float* dx,
                           float* scratch);
  /// dw of x and dy.
  void (*convolutionWeight)(const ConvolutionShape&, int64_t images, const float* x, const float* dy, float* dw,
                            float* scratch);

  /// Group norm, then SiLU where asked for. `statistics`: images × groups × (mean, 1 / standard deviation), written.
  void (*groupNorm)(const GroupNormShape&, int64_t images, const float* x, const float* weight, const float* bias,
                    float* statistics, float* y);
  void (*groupNormBf16)(const GroupNormShape&, int64_t images, const BFloat16* x, const BFloat16* weight,
                        const BFloat16* bias, float* statistics, BFloat16* y);
  /// dx, and what these images add to dweight and dbias (float32 sums, channels each).
  void (*groupNormGradient)(const GroupNormShape&, int64_t images, const float* x, const float* weight,
                            const float* bias, const float* statistics, const float* dy, float* dx, float* dweight,
                            float* dbias);
  void (*groupNormGradientBf16)(const GroupNormShape&, int64_t images, const BFloat16* x, const BFloat16* weight,
                                const BFloat16* bias, const float* statistics, const BFloat16* dy, BFloat16* dx,
                                float* dweight, float* dbias);

  /// Numbers that each of the four below needs room for besides its arguments.
  int64_t (*attentionScratch)(const AttentionShape&);
  /// `statistics`: images × heads × tokens up to a multiple of sixteen × 2, written.
  void (*attention)(const AttentionShape&, int64_t images, const float* q, const float* k, const float* v,
                    float* statistics, float* y, float* scratch);
  void (*attentionBf16)(const AttentionShape&, int64_t images, const BFloat16* q, const BFloat16* k, const BFloat16* v,
                        float* statistics, BFloat16* y, float* scratch);
  void (*attentionGradient)(const AttentionShape&, int64_t images, const float* q, const float* k, const float* v,
                            const float* y, const float* statistics, const float* dy, float* dq, float* dk, float* dv,
                            float* scratch);
  void (*attentionGradientBf16)(const AttentionShape&, int64_t images, const BFloat16* q, const BFloat16* k,
                                const BFloat16* v, const BFloat16* y, const float* statistics, const BFloat16* dy,
                                BFloat16* dq, BFloat16* dk, BFloat16* dv, float* scratch);
};

/// Those for what `at::get_cpu_capability()` names: the best instruction set of this processor, or the one that the
/// environment variable ATEN_CPU_CAPABILITY asks libtorch to keep to. Null where there are none for it.
const Kernels* kernels(const char* capability);

}  // namespace continual
