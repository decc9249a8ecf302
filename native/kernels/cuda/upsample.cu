// Images twice as high and wide, every pixel four times, and the gradient of that. A thread for each vector of the
// small image.

template <class T>
__global__ void upsample(int vectors, int rowVectors, int perPixel, const T* x, T* y) {
  const int v = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (v >= vectors) return;
  const Vector<T> value = reinterpret_cast<const Vector<T>*>(x)[v];
  // A row of the small image, of `rowVectors`, becomes two, each twice as long.
  const int row = v / rowVectors, inRow = v - row * rowVectors, pixel = inRow / perPixel;
  auto* const to =
      reinterpret_cast<Vector<T>*>(y) + static_cast<size_t>(row) * 4 * rowVectors + inRow + pixel * perPixel;
  to[0] = value;
  to[perPixel] = value;
  to[2 * rowVectors] = value;
  to[2 * rowVectors + perPixel] = value;
}

template <class T>
__global__ void upsampleGradient(int vectors, int rowVectors, int perPixel, const T* dy, T* dx) {
  const int v = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (v >= vectors) return;
  const int row = v / rowVectors, inRow = v - row * rowVectors, pixel = inRow / perPixel;
  const auto* const from =
      reinterpret_cast<const Vector<T>*>(dy) + static_cast<size_t>(row) * 4 * rowVectors + inRow + pixel * perPixel;
  const Vector<T> a = from[0], b = from[perPixel], c = from[2 * rowVectors], d = from[2 * rowVectors + perPixel];
  float sum[width];
#pragma unroll
  for (int k = 0; k < width; ++k) sum[k] = number(a, k) + number(b, k) + (number(c, k) + number(d, k));
  put(reinterpret_cast<Vector<T>*>(dx) + v, sum);
}
