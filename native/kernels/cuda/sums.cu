// What convolutions and linear layers add to their products, and its gradient: sums over the rows of a matrix, of which
// an image's pixels, or tokens, are some.

/// y += bias, and image if there is one; y and image have `vectors` vectors, and as many numbers in a row as channels.
/// Each thread takes `addedAtOnce` of them.
constexpr int addedAtOnce = 4;

template <class T, bool hasImage>
__global__ void addSummands(int vectors, int channels, const T* bias, const T* image, T* y) {
  const auto* const from = reinterpret_cast<const Vector<T>*>(image);
  auto* const to = reinterpret_cast<Vector<T>*>(y);
  const int threads = static_cast<int>(blockDim.x), perRow = channels / width;
  const int first = static_cast<int>(blockIdx.x) * addedAtOnce * threads + static_cast<int>(threadIdx.x);
  Vector<T> values[addedAtOnce], more[addedAtOnce];
#pragma unroll
  for (int i = 0; i < addedAtOnce; ++i) {
    const int v = first + i * threads;
    if (v >= vectors) break;
    values[i] = to[v];
    if (hasImage) more[i] = from[v];
  }
#pragma unroll
  for (int i = 0; i < addedAtOnce; ++i) {
    const int v = first + i * threads;
    if (v >= vectors) break;
    const T* const added = bias + v % perRow * width;
    float out[width];
#pragma unroll
    for (int k = 0; k < width; ++k) {
      out[k] = number(values[i], k) + number(added[k]);
      if (hasImage) out[k] += number(more[i], k);
    }
    put(to + v, out);
  }
}

/// Sums over the rows of x, rows × channels: `parts` of them, each over some of the rows, parts × channels. A block is
/// one part of the vectors that its threads are wide. Shared memory: four numbers a thread.
template <class From, class To>
__global__ void sumRows(int rows, int channels, int parts, const From* x, To* sums) {
  extern __shared__ __align__(16) float memory[];
  constexpr int atOnce = 4;
  const int across = static_cast<int>(blockDim.x), down = static_cast<int>(blockDim.y);
  const int part = static_cast<int>(blockIdx.x) % parts;
  const int channel = (static_cast<int>(blockIdx.x) / parts * across + static_cast<int>(threadIdx.x)) * width;
  const int row = static_cast<int>(threadIdx.y), step = parts * down;
  float sum[width] = {};
  if (channel < channels) {
    for (int first = part * down + row; first < rows; first += atOnce * step) {
      Vector<From> values[atOnce];
#pragma unroll
      for (int i = 0; i < atOnce; ++i) {
        const int r = first + i * step;
        if (r < rows) {
          values[i] = *reinterpret_cast<const Vector<From>*>(x + static_cast<size_t>(r) * channels + channel);
        } else {
          values[i] = {};
        }
      }
#pragma unroll
      for (int i = 0; i < atOnce; ++i) {
#pragma unroll
        for (int k = 0; k < width; ++k) sum[k] += number(values[i], k);
      }
    }
  }
  float* const mine = memory + (row * across + static_cast<int>(threadIdx.x)) * width;
#pragma unroll
  for (int k = 0; k < width; ++k) mine[k] = sum[k];
  __syncthreads();
  for (int left = down; left > 1;) {
    const int upper = (left + 1) / 2;
    if (row + upper < left) {
#pragma unroll
      for (int k = 0; k < width; ++k) mine[k] += mine[upper * across * width + k];
    }
    left = upper;
    __syncthreads();
  }
  if (row != 0 || channel >= channels) return;
#pragma unroll
  for (int k = 0; k < width; ++k) sum[k] = mine[k];
  put(reinterpret_cast<Vector<To>*>(sums + static_cast<size_t>(part) * channels + channel), sum);
}
