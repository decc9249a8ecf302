// What our CUDA kernels share: numbers four at a time. Images are N×H×W×C. Compiled when they are first wanted
// (runtime/cuda_program), and by the processor's compiler for their test. No atomics: the order of a sum never changes.

struct BFloat16 {
  unsigned short bits;
};

constexpr int width = 4;

/// Numbers of type T, as words: of short ones two in each.
template <class T>
struct alignas(width * sizeof(T)) Vector {
  unsigned words[width * sizeof(T) / sizeof(unsigned)];
};

__device__ inline float number(float x) { return x; }
__device__ inline float number(BFloat16 x) { return __uint_as_float(static_cast<unsigned>(x.bits) << 16); }

__device__ inline float number(const Vector<float>& from, int k) { return __uint_as_float(from.words[k]); }
__device__ inline float number(const Vector<BFloat16>& from, int k) {
  const unsigned word = from.words[k / 2];
  return __uint_as_float(k % 2 == 0 ? word << 16 : word & 0xFFFF0000);
}

/// Two numbers of a word, rounded to the nearest, ties to even.
__device__ inline unsigned rounded(float low, float high) {
#if defined(__CUDA_ARCH__) && __CUDA_ARCH__ >= 800
  unsigned word;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(word) : "f"(high), "f"(low));
  return word;
#else
  const auto upper = [](float x) {
    const unsigned bits = __float_as_uint(x);
    return x != x ? 0x7FFF0000 : bits + 0x7FFF + ((bits >> 16) & 1);
  };
  return upper(low) >> 16 | (upper(high) & 0xFFFF0000);
#endif
}

__device__ inline void put(Vector<float>* to, const float (&x)[width]) {
  *to = {__float_as_uint(x[0]), __float_as_uint(x[1]), __float_as_uint(x[2]), __float_as_uint(x[3])};
}
__device__ inline void put(Vector<BFloat16>* to, const float (&x)[width]) {
  *to = {rounded(x[0], x[1]), rounded(x[2], x[3])};
}

__device__ inline void put(float* to, float x) { *to = x; }
__device__ inline void put(BFloat16* to, float x) { to->bits = static_cast<unsigned short>(rounded(x, 0)); }

__device__ inline float sigmoid(float x) { return __fdividef(1.0F, 1.0F + __expf(-x)); }
