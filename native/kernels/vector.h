#pragma once

// As many floats at a time as a register holds, in the compiler's own vector types: wider ones go through memory. Every
// file that includes this is compiled for one instruction set: all of it has internal linkage, and no header with
// shared inline functions comes with it, so that the linker can't take code of one set for another.

#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#include <cstdint>
#include <cstring>

#include "kernels/kernels.h"

namespace continual {
namespace {

#ifdef __AVX512F__
constexpr int64_t lanes = 16;
#else
constexpr int64_t lanes = 8;
#endif

using Floats = float __attribute__((vector_size(4 * lanes)));
using Ints = int32_t __attribute__((vector_size(4 * lanes)));
using Words = uint32_t __attribute__((vector_size(4 * lanes)));
using Halves = uint16_t __attribute__((vector_size(2 * lanes)));

// All are named: a loop would insert them one by one, and Floats{} + x is a sum, which turns −0 into 0.
#ifdef __AVX512F__
inline Floats splat(float x) { return Floats{x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}; }
#else
inline Floats splat(float x) { return Floats{x, x, x, x, x, x, x, x}; }
#endif

inline Floats load(const float* from) {
  Floats result;
  std::memcpy(&result, from, sizeof result);
  return result;
}

inline void store(float* to, Floats x) { std::memcpy(to, &x, sizeof x); }

inline Floats load(const BFloat16* from) {
  Halves bits;
  std::memcpy(&bits, from, sizeof bits);
  return reinterpret_cast<Floats>(__builtin_convertvector(bits, Words) << 16);
}

// Rounds to the nearest, ties to even; a NaN may become an infinity, which the check for finite losses sees as well.
inline void store(BFloat16* to, Floats x) {
#ifdef __AVX512BF16__
  const __m256bh rounded = _mm512_cvtneps_pbh(reinterpret_cast<__m512>(x));
#else
  const Words bits = reinterpret_cast<Words>(x);
  const Halves rounded = __builtin_convertvector((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16, Halves);
#endif
  std::memcpy(to, &rounded, sizeof rounded);
}

inline float number(float x) { return x; }
inline float number(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

inline Floats minimum(Floats a, Floats b) { return a < b ? a : b; }
inline Floats maximum(Floats a, Floats b) { return a > b ? a : b; }

// eˣ within 2 units in the last place for −87 ≤ x ≤ 88, clamped outside: 2ⁿ·eʳ with |r| ≤ ln 2 / 2, and the Taylor
// polynomial of degree 7 for eʳ.
inline Floats exponential(Floats x) {
  x = minimum(maximum(x, splat(-87.0F)), splat(88.0F));
  constexpr float shift = 12582912.0F;  // 1.5 · 2²³: adding it rounds to a whole number
  const Floats shifted = x * 1.44269504088896341F + shift;
  const Floats n = shifted - shift;
  const Floats r = (x - n * 0.693359375F) - n * -2.12194440e-4F;
  constexpr float coefficients[] = {1.0F / 720, 1.0F / 120, 1.0F / 24, 1.0F / 6, 0.5F, 1.0F, 1.0F};
  Floats p = splat(1.0F / 5040);
  for (const float c : coefficients) p = p * r + c;
  return p * reinterpret_cast<Floats>((__builtin_convertvector(n, Ints) + 127) << 23);
}

/// Of numbers of type T, as exactly as they are.
template <class T>
inline Floats sigmoid(Floats x) {
  return 1.0F / (1.0F + exponential(-x));
}

#ifdef __AVX512BF16__
// Within 2⁻¹³ of itself: 2ⁿ·2ʳ with |r| ≤ 1/2, the Taylor polynomial of degree 4 for 2ʳ, and an estimated reciprocal.
template <>
inline Floats sigmoid<BFloat16>(Floats x) {
  constexpr __mmask16 all = 0xFFFF;  // GCC 12 warns about what the instructions without a mask leave undefined
  const auto raw = [](Floats v) { return reinterpret_cast<__m512>(v); };
  const Floats power = x * -1.44269504088896341F;
  const __m512 n = _mm512_maskz_roundscale_ps(all, raw(power), _MM_FROUND_TO_NEAREST_INT);
  const Floats r = power - reinterpret_cast<Floats>(n);
  constexpr float coefficients[] = {0.0555041087F, 0.240226507F, 0.693147181F, 1.0F};
  Floats p = splat(0.00961812911F);
  for (const float c : coefficients) p = p * r + c;
  const auto e = reinterpret_cast<Floats>(_mm512_maskz_scalef_ps(all, raw(p), n));
  return reinterpret_cast<Floats>(_mm512_maskz_rcp14_ps(all, raw(1.0F + e)));
}
#endif

}  // namespace
}  // namespace continual
