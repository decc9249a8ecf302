// Group norm with SiLU behind it on CUDA, images N×H×W×C: libtorch's own goes through N×C×H×W and back. Compiled when
// it is first wanted (runtime/cuda_program), and by the processor's compiler for its test.
//
// A block takes some channels of one image, its slice: whole groups. Each thread has a vector of channels at every
// `rows`-th pixel, and keeps the first of them. No atomics: the order of a sum never changes. See group_norm.h.

struct BFloat16 {
  unsigned short bits;
};

struct Shape {
  int pixels, channels, groupSize, slice;
};

constexpr int width = 4, mostThreads = 384, blocksAtOnce = 2;

/// Numbers of type T, as words: of short ones two in each.
template <class T>
struct alignas(width * sizeof(T)) Vector {
  unsigned words[width * sizeof(T) / sizeof(unsigned)];
};

/// Vectors that a thread keeps of each of `n` tensors, in 32 registers; what it has more is read again, a few at once.
template <class T, int n>
constexpr int kept = 32 / sizeof(T) / n;
template <class T, int n>
constexpr int again = kept<T, n> / 4;

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

__device__ inline float sigmoid(float x) { return __fdividef(1.0F, 1.0F + __expf(-x)); }

/// What of the images is this thread's.
struct Share {
  Shape shape;
  int image, first;        // first: the slice's first channel
  int channel, row, rows;  // channel: of the slice, the first of the thread's
  int thread, threads;     // of the block's

  __device__ explicit Share(const Shape& s) : shape(s) {
    const int slices = s.channels / s.slice;
    image = static_cast<int>(blockIdx.x) / slices;
    first = (static_cast<int>(blockIdx.x) - image * slices) * s.slice;
    channel = static_cast<int>(threadIdx.x) * width;
    row = static_cast<int>(threadIdx.y);
    rows = static_cast<int>(blockDim.y);
    thread = row * static_cast<int>(blockDim.x) + static_cast<int>(threadIdx.x);
    threads = rows * static_cast<int>(blockDim.x);
  }

  /// Where the thread's channels lie at a pixel.
  __device__ size_t place(int pixel) const {
    return (static_cast<size_t>(image) * shape.pixels + pixel) * shape.channels + first + channel;
  }

  __device__ int group(int channelOfSlice) const { return (first + channelOfSlice) / shape.groupSize; }

  /// Calls work(c) for the slice's channels, shared among the block's threads.
  template <class Work>
  __device__ void overChannels(const Work& work) const {
    for (int c = thread; c < shape.slice; c += threads) work(c);
  }

  /// Leaves in sums[c] the sum over all rows of each channel's `mine`; `sums` has room for slice × rows numbers.
  /// Whoever read it before has passed a barrier since: that of overGroups.
  __device__ void overRows(const float (&mine)[width], float* sums) const {
    struct alignas(16) Sums {
      float of[width];
    };
    *reinterpret_cast<Sums*>(sums + row * shape.slice + channel) = {mine[0], mine[1], mine[2], mine[3]};
    __syncthreads();
    for (int left = rows; left > 1;) {
      const int upper = (left + 1) / 2;
      for (int i = thread; i < (left - upper) * shape.slice; i += threads) sums[i] += sums[upper * shape.slice + i];
      left = upper;
      __syncthreads();
    }
  }

  /// For each channel of the slice the sum of term(c) over its group, in `totals`.
  template <class Term>
  __device__ void overGroups(const Term& term, float* totals) const {
    overChannels([&](int c) {
      const int begin = c - c % shape.groupSize;
      float sum = 0;
      for (int other = begin; other < begin + shape.groupSize; ++other) sum += term(other);
      totals[c] = sum;
    });
    __syncthreads();
  }
};

/// Vectors of `n` tensors at the pixels of a thread.
template <class T, int n>
struct Inputs {
  const T* from[n];
  Vector<T> first[kept<T, n>][n];

  __device__ Inputs(const Share& share, const T* const (&tensors)[n]) {
#pragma unroll
    for (int k = 0; k < n; ++k) from[k] = tensors[k];
    load(share, share.row, first);
  }

  /// The vectors of every pixel of the thread from one on, as far as there are any.
  template <int count>
  __device__ void load(const Share& share, int pixel, Vector<T> (&to)[count][n]) const {
#pragma unroll
    for (int i = 0; i < count; ++i, pixel += share.rows) {
      if (pixel >= share.shape.pixels) break;
#pragma unroll
      for (int k = 0; k < n; ++k) to[i][k] = *reinterpret_cast<const Vector<T>*>(from[k] + share.place(pixel));
    }
  }

  template <int count, class Work>
  __device__ static void each(const Share& share, int pixel, const Vector<T> (&of)[count][n], const Work& work) {
#pragma unroll
    for (int i = 0; i < count; ++i, pixel += share.rows) {
      if (pixel >= share.shape.pixels) break;
      work(pixel, of[i]);
    }
  }

  /// Calls work(pixel, values) for each pixel of the thread.
  template <class Work>
  __device__ void each(const Share& share, const Work& work) const {
    each(share, share.row, first, work);
    for (int pixel = share.row + kept<T, n> * share.rows; pixel < share.shape.pixels;
         pixel += again<T, n> * share.rows) {
      Vector<T> more[again<T, n>][n];
      load(share, pixel, more);
      each(share, pixel, more, work);
    }
  }
};

/// y of x, and images × groups × (mean, 1 / standard deviation). Shared memory: slice × (rows + 1) numbers.
template <class T, bool silu>
__global__ void __launch_bounds__(mostThreads, blocksAtOnce)
    groupNorm(Shape shape, float eps, const T* x, const T* weight, const T* bias, float* statistics, T* y) {
  extern __shared__ float memory[];
  const Share share(shape);
  float *const totals = memory, *const sums = memory + shape.slice;
  const float each = 1.0F / (static_cast<float>(shape.pixels) * static_cast<float>(shape.groupSize));

  const Inputs<T, 1> inputs(share, {x});
  float mine[width] = {};
  inputs.each(share, [&](int, const Vector<T>(&in)[1]) {
#pragma unroll
    for (int k = 0; k < width; ++k) mine[k] += number(in[0], k);
  });
  share.overRows(mine, sums);
  share.overGroups([&](int c) { return sums[c]; }, totals);
  float mean[width];
#pragma unroll
  for (int k = 0; k < width; ++k) {
    mean[k] = totals[share.channel + k] * each;
    mine[k] = 0;
  }
  inputs.each(share, [&](int, const Vector<T>(&in)[1]) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float d = number(in[0], k) - mean[k];
      mine[k] += d * d;
    }
  });
  share.overRows(mine, sums);  // after whose barriers everybody has read the means
  share.overGroups([&](int c) { return sums[c]; }, totals);

  float scale[width], shift[width];
#pragma unroll
  for (int k = 0; k < width; ++k) {
    const int c = share.channel + k;
    const float rstd = rsqrtf(totals[c] * each + eps);
    if (share.row == 0 && c % shape.groupSize == 0) {
      float* const to = statistics + 2 * (share.image * (shape.channels / shape.groupSize) + share.group(c));
      to[0] = mean[k];
      to[1] = rstd;
    }
    scale[k] = rstd * number(weight[share.first + c]);
    shift[k] = number(bias[share.first + c]);
  }
  inputs.each(share, [&](int pixel, const Vector<T>(&in)[1]) {
    float out[width];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float z = (number(in[0], k) - mean[k]) * scale[k] + shift[k];
      out[k] = silu ? z * sigmoid(z) : z;
    }
    put(reinterpret_cast<Vector<T>*>(y + share.place(pixel)), out);
  });
}

/// dx of dy, and each image's part of dweight and dbias, images × 2 × channels. Shared memory: slice × (rows + 2).
template <class T, bool silu>
__global__ void __launch_bounds__(mostThreads, blocksAtOnce)
    groupNormGradient(Shape shape, const T* x, const T* weight, const T* bias, const float* statistics, const T* dy,
                      T* dx, float* parts) {
  extern __shared__ float memory[];
  const Share share(shape);
  float *const ofNormed = memory, *const ofGiven = memory + shape.slice, *const sums = memory + 2 * shape.slice;
  const float each = 1.0F / (static_cast<float>(shape.pixels) * static_cast<float>(shape.groupSize));

  const Inputs<T, 2> inputs(share, {x, dy});
  float mean[width], rstd[width], factor[width], shift[width];
#pragma unroll
  for (int k = 0; k < width; ++k) {
    const int c = share.channel + k;
    const float* const of = statistics + 2 * (share.image * (shape.channels / shape.groupSize) + share.group(c));
    mean[k] = of[0];
    rstd[k] = of[1];
    factor[k] = number(weight[share.first + c]);
    shift[k] = number(bias[share.first + c]);
  }
  // The normed x, and the gradient of what was made of it by weight and bias.
  const auto normed = [&](const Vector<T>(&in)[2], int k) { return (number(in[0], k) - mean[k]) * rstd[k]; };
  const auto given = [&](const Vector<T>(&in)[2], int k, float n) {
    const float g = number(in[1], k);
    if (!silu) return g;
    const float z = n * factor[k] + shift[k], s = sigmoid(z);
    return g * s * (1 + z * (1 - s));
  };

  float mineNormed[width] = {}, mineGiven[width] = {};
  inputs.each(share, [&](int, const Vector<T>(&in)[2]) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float n = normed(in, k), g = given(in, k, n);
      mineNormed[k] += g * n;
      mineGiven[k] += g;
    }
  });
  // Totals over a group are of what reached the normed x: each channel's sum times its weight.
  float* const part = parts + static_cast<size_t>(share.image) * 2 * shape.channels + share.first;
  const auto weighted = [&](int c) { return sums[c] * number(weight[share.first + c]); };
  share.overRows(mineNormed, sums);
  share.overChannels([&](int c) { part[c] = sums[c]; });
  share.overGroups(weighted, ofNormed);
  share.overRows(mineGiven, sums);
  share.overChannels([&](int c) { part[shape.channels + c] = sums[c]; });
  share.overGroups(weighted, ofGiven);

  float meanNormed[width], meanGiven[width];
#pragma unroll
  for (int k = 0; k < width; ++k) {
    meanNormed[k] = ofNormed[share.channel + k] * each;
    meanGiven[k] = ofGiven[share.channel + k] * each;
  }
  inputs.each(share, [&](int pixel, const Vector<T>(&in)[2]) {
    float out[width];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float n = normed(in, k), g = given(in, k, n);
      out[k] = rstd[k] * (g * factor[k] - meanGiven[k] - n * meanNormed[k]);
    }
    put(reinterpret_cast<Vector<T>*>(dx + share.place(pixel)), out);
  });
}
