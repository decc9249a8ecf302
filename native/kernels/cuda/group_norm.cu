// Group norm with SiLU behind it on CUDA: libtorch's own goes through N×C×H×W and back.
//
// A block takes some channels of one image, its slice: whole groups. Each thread has a vector of channels at every
// `rows`-th pixel, and keeps the first of them. See plans.h.

struct Shape {
  int pixels, channels, groupSize, slice;
};

/// What is normed: two feature maps beside each other in channels, of which the first has `split`, or one that has them
/// all; plus a number for each channel, and one for each image and channel, where these are not null.
template <class T>
struct Maps {
  const T *first, *second, *bias, *perImage;
  int split;
};

constexpr int mostThreads = 384, blocksAtOnce = 2;

/// Vectors that a thread keeps of each of `n` tensors, in 32 registers; what it has more is read again, a few at once.
template <class T, int n>
constexpr int kept = 32 / sizeof(T) / n;
template <class T, int n>
constexpr int again = kept<T, n> / 4;

/// Where a thread's channels lie at every pixel.
template <class T>
struct Column {
  T* begin;
  int step;

  __device__ T* operator[](int pixel) const { return begin + static_cast<size_t>(pixel) * step; }
};

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

  /// Of images that two tensors share: `split` channels are the first's.
  template <class T>
  __device__ Column<T> column(T* of, T* ofSecond, int split) const {
    const int c = first + channel;
    const bool isFirst = c < split;
    const int step = isFirst ? split : shape.channels - split;
    return {(isFirst ? of + c : ofSecond + (c - split)) + static_cast<size_t>(image) * shape.pixels * step, step};
  }
  template <class T>
  __device__ Column<T> column(T* of) const {
    return column(of, of, shape.channels);
  }

  __device__ int group(int channelOfSlice) const { return (first + channelOfSlice) / shape.groupSize; }

  /// What is added to the thread's channels.
  template <class T>
  __device__ void added(const Maps<T>& maps, float (&to)[width]) const {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const int c = first + channel + k;
      to[k] = maps.bias == nullptr ? 0 : number(maps.bias[c]);
      if (maps.perImage != nullptr) to[k] += number(maps.perImage[image * shape.channels + c]);
    }
  }

  /// Calls work(c) for the slice's channels, shared among the block's threads.
  template <class Work>
  __device__ void overChannels(const Work& work) const {
    for (int c = thread; c < shape.slice; c += threads) work(c);
  }

  /// Leaves in sums[i × slice + c] the sum over all rows of each channel's mine[i]. `room` is for n × slice × rows
  /// numbers; whoever read either before has passed a barrier since.
  template <int n>
  __device__ void overRows(const float (&mine)[n][width], float* room, float* sums) const {
    const int size = shape.slice * rows;
#pragma unroll
    for (int i = 0; i < n; ++i)
      put(reinterpret_cast<Vector<float>*>(room + i * size + row * shape.slice + channel), mine[i]);
    __syncthreads();
    const int parts = rows / width > 1 ? rows / width : 1;  // as many as give every thread one
    const auto sumOf = [&](const float* from, int begin, int end, int step) {
      float sum = 0;
      for (int r = begin; r < end; r += step) sum += from[r * shape.slice];
      return sum;
    };
    if (parts > 1) {
      for (int j = thread; j < parts * shape.slice; j += threads) {
        const int part = j / shape.slice, c = j - part * shape.slice;
#pragma unroll
        for (int i = 0; i < n; ++i) {
          float* const from = room + i * size + c;
          from[part * shape.slice] = sumOf(from, part, rows, parts);  // which no other thread reads
        }
      }
      __syncthreads();
    }
    overChannels([&](int c) {
#pragma unroll
      for (int i = 0; i < n; ++i) {
        sums[i * shape.slice + c] = sumOf(room + i * size + c, 0, parts > 1 ? parts : rows, 1);
      }
    });
    __syncthreads();
  }

  /// For each of the thread's channels the sum of term(c) over its group.
  template <class Term>
  __device__ void overGroups(const Term& term, float (&to)[width]) const {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const int c = channel + k, begin = c - c % shape.groupSize;
      if (k > 0 && begin != c) {
        to[k] = to[k - 1];
        continue;
      }
      to[k] = 0;
      for (int other = begin; other < begin + shape.groupSize; ++other) to[k] += term(other);
    }
  }
};

/// Vectors of `n` tensors at the pixels of a thread.
template <class T, int n>
struct Inputs {
  Column<const T> from[n];
  Vector<T> first[kept<T, n>][n];

  __device__ Inputs(const Share& share, const Column<const T> (&columns)[n]) {
#pragma unroll
    for (int k = 0; k < n; ++k) from[k] = columns[k];
    load(share, share.row, first);
  }

  /// The vectors of every pixel of the thread from one on, as far as there are any.
  template <int count>
  __device__ void load(const Share& share, int pixel, Vector<T> (&to)[count][n]) const {
#pragma unroll
    for (int i = 0; i < count; ++i, pixel += share.rows) {
      if (pixel >= share.shape.pixels) break;
#pragma unroll
      for (int k = 0; k < n; ++k) to[i][k] = *reinterpret_cast<const Vector<T>*>(from[k][pixel]);
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

/// y, and images × groups × (mean, 1 / standard deviation). Shared memory: slice × (rows + 1) numbers.
template <class T, bool silu>
__global__ void __launch_bounds__(mostThreads, blocksAtOnce)
    groupNorm(Shape shape, Maps<T> x, float eps, const T* weight, const T* bias, float* statistics, T* y) {
  extern __shared__ __align__(16) float memory[];
  const Share share(shape);
  float *const sums = memory, *const room = memory + shape.slice;
  const float each = 1.0F / (static_cast<float>(shape.pixels) * static_cast<float>(shape.groupSize));

  const Inputs<T, 1> inputs(share, {share.column(x.first, x.second, x.split)});
  float plus[width], mean[width], mine[1][width] = {};
  share.added(x, plus);
  inputs.each(share, [&](int, const Vector<T>(&in)[1]) {
#pragma unroll
    for (int k = 0; k < width; ++k) mine[0][k] += number(in[0], k) + plus[k];
  });
  const auto ofChannel = [&](int c) { return sums[c]; };
  share.overRows(mine, room, sums);
  share.overGroups(ofChannel, mean);
#pragma unroll
  for (int k = 0; k < width; ++k) {
    mean[k] *= each;
    plus[k] -= mean[k];
    mine[0][k] = 0;
  }
  inputs.each(share, [&](int, const Vector<T>(&in)[1]) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float d = number(in[0], k) + plus[k];
      mine[0][k] += d * d;
    }
  });
  share.overRows(mine, room, sums);  // whose first barrier comes after everybody has read the sums
  float scale[width], shift[width];
  share.overGroups(ofChannel, scale);
#pragma unroll
  for (int k = 0; k < width; ++k) {
    const int c = share.channel + k;
    const float rstd = rsqrtf(scale[k] * each + eps);
    if (share.row == 0 && c % shape.groupSize == 0) {
      float* const to = statistics + 2 * (share.image * (shape.channels / shape.groupSize) + share.group(c));
      to[0] = mean[k];
      to[1] = rstd;
    }
    scale[k] = rstd * number(weight[share.first + c]);
    shift[k] = number(bias[share.first + c]);
  }
  const Column<T> to = share.column(y);
  inputs.each(share, [&](int pixel, const Vector<T>(&in)[1]) {
    float out[width];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float z = (number(in[0], k) + plus[k]) * scale[k] + shift[k];
      out[k] = silu ? z * sigmoid(z) : z;
    }
    put(reinterpret_cast<Vector<T>*>(to[pixel]), out);
  });
}

/// dx of dy, each image's part of dweight and dbias, images × 2 × channels, and of the gradient of the x.bias, which is
/// that of x.perImage, where `dPerImage` is not null. Shared memory: slice × 2 × (rows + 1) numbers.
template <class T, bool silu>
__global__ void __launch_bounds__(mostThreads, blocksAtOnce)
    groupNormGradient(Shape shape, Maps<T> x, const T* weight, const T* bias, const float* statistics, const T* dy,
                      T* dFirst, T* dSecond, float* parts, T* dPerImage) {
  extern __shared__ __align__(16) float memory[];
  const Share share(shape);
  float *const sums = memory, *const room = memory + 2 * shape.slice;
  const float each = 1.0F / (static_cast<float>(shape.pixels) * static_cast<float>(shape.groupSize));

  const Inputs<T, 2> inputs(share, {share.column(x.first, x.second, x.split), share.column(dy)});
  float plus[width], rstd[width], factor[width], shift[width];
  share.added(x, plus);
#pragma unroll
  for (int k = 0; k < width; ++k) {
    const int c = share.channel + k;
    const float* const of = statistics + 2 * (share.image * (shape.channels / shape.groupSize) + share.group(c));
    plus[k] -= of[0];
    rstd[k] = of[1];
    factor[k] = number(weight[share.first + c]);
    shift[k] = number(bias[share.first + c]);
  }
  // The normed x, and the gradient of what was made of it by weight and bias.
  const auto normed = [&](const Vector<T>(&in)[2], int k) { return (number(in[0], k) + plus[k]) * rstd[k]; };
  const auto given = [&](const Vector<T>(&in)[2], int k, float n) {
    const float g = number(in[1], k);
    if (!silu) return g;
    const float z = n * factor[k] + shift[k], s = sigmoid(z);
    return g * s * (1 + z * (1 - s));
  };

  float mine[2][width] = {};
  inputs.each(share, [&](int, const Vector<T>(&in)[2]) {
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float n = normed(in, k), g = given(in, k, n);
      mine[0][k] += g * n;
      mine[1][k] += g;
    }
  });
  share.overRows(mine, room, sums);
  float* const part = parts + static_cast<size_t>(share.image) * 2 * shape.channels + share.first;
  share.overChannels([&](int c) {
    part[c] = sums[c];
    part[shape.channels + c] = sums[shape.slice + c];
  });
  // Totals over a group are of what reached the normed x: each channel's sum times its weight.
  float meanNormed[width], meanGiven[width];
  share.overGroups([&](int c) { return sums[c] * number(weight[share.first + c]); }, meanNormed);
  share.overGroups([&](int c) { return sums[shape.slice + c] * number(weight[share.first + c]); }, meanGiven);
#pragma unroll
  for (int k = 0; k < width; ++k) {
    meanNormed[k] *= each;
    meanGiven[k] *= each;
  }
  float total[1][width] = {};
  const Column<T> to = share.column(dFirst, dSecond, x.split);
  inputs.each(share, [&](int pixel, const Vector<T>(&in)[2]) {
    float out[width];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      const float n = normed(in, k), g = given(in, k, n);
      out[k] = rstd[k] * (g * factor[k] - meanGiven[k] - n * meanNormed[k]);
      total[0][k] += out[k];
    }
    put(reinterpret_cast<Vector<T>*>(to[pixel]), out);
  });
  if (dPerImage == nullptr) return;
  share.overRows(total, room, sums);
  T* const of = dPerImage + static_cast<size_t>(share.image) * shape.channels + share.first;
  share.overChannels([&](int c) { put(of + c, sums[c]); });
}
