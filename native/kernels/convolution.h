#pragma once

// Convolutions of float32 images N×H×W×C, as sums of products of a pixel's channels, one by one, with rows of sixteen
// or more weights: no im2col, no blocked layout. They replace oneDNN's where channels are few (see nn/functions.cc).

#include "kernels/vector.h"

namespace continual {
namespace {

/// One image with a border of zeros (none for 1×1 kernels), its pixels `spacing` apart with zeros between them.
struct Padded {
  int64_t border, width, height, channels;

  Padded(int64_t height, int64_t width, int64_t channels, int64_t kernel)
      : border(kernel / 2), width(width + 2 * border), height(height + 2 * border), channels(channels) {}
  int64_t row() const { return width * channels; }
  int64_t size() const { return height * row(); }

  void fill(const float* image, int64_t rows, int64_t columns, int64_t spacing, float* to) const {
    if (border > 0 || spacing > 1) std::memset(to, 0, sizeof(float) * static_cast<size_t>(size()));
    for (int64_t y = 0; y < rows; ++y) {
      float* line = to + (y * spacing + border) * row() + border * channels;
      if (spacing == 1) {
        std::memcpy(line, image + y * columns * channels, sizeof(float) * static_cast<size_t>(columns * channels));
        continue;
      }
      for (int64_t x = 0; x < columns; ++x) {
        std::memcpy(line + x * spacing * channels, image + (y * columns + x) * channels,
                    sizeof(float) * static_cast<size_t>(channels));
      }
    }
  }
};

/// Where the pixels of a tile are read, and what they are multiplied with.
struct TileInput {
  const float* x;
  int64_t pixel, line;  // from one pixel of the tile to the next, and from one of its rows to the next
  int64_t row, run;     // from one row of the kernel to the next, and the numbers read in each: kernel · channels
  int64_t kernel;
  const float* weights;  // kernel · run rows of 16·V
};

// Sums of R × P pixels and V vectors of channels, all in registers.
template <int R, int P, int V>
inline void multiply(const TileInput& in, Floats (&sum)[R * P][V]) {
  for (auto& pixel : sum) {
    for (Floats& s : pixel) s = Floats{};
  }
  const float* w = in.weights;
  for (int64_t ky = 0; ky < in.kernel; ++ky) {
    const float* x = in.x + ky * in.row;
    for (int64_t i = 0; i < in.run; ++i, w += V * lanes) {
      Floats weights[V];
#pragma GCC unroll 4
      for (int v = 0; v < V; ++v) weights[v] = load(w + v * lanes);
#pragma GCC unroll 2
      for (int r = 0; r < R; ++r) {
#pragma GCC unroll 8
        for (int p = 0; p < P; ++p) {
          const Floats value = splat(x[r * in.line + p * in.pixel + i]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[r * P + p][v] += weights[v] * value;
        }
      }
    }
  }
}

/// Where the answers of a tile go, with what is added to them.
struct TileOutput {
  float* y;
  const float *bias, *perImage, *image;  // at the tile's first channel; null for nothing
  int64_t out, line;                     // from one pixel to the next, and from one row to the next
};

template <int R, int P, int V>
inline void tile(const TileInput& in, const TileOutput& to) {
  Floats sum[R * P][V];
  multiply<R, P, V>(in, sum);
  for (int v = 0; v < V; ++v) {
    Floats same = Floats{};
    if (to.bias != nullptr) same += load(to.bias + v * lanes);
    if (to.perImage != nullptr) same += load(to.perImage + v * lanes);
    for (int r = 0; r < R; ++r) {
      for (int p = 0; p < P; ++p) {
        const int64_t at = r * to.line + p * to.out + v * lanes;
        Floats answer = sum[r * P + p][v] + same;
        if (to.image != nullptr) answer += load(to.image + at);
        store(to.y + at, answer);
      }
    }
  }
}

struct Plane {
  int64_t height, width;  // of the answer
  int64_t stride;
};

// All pixels of one image for V vectors of channels: in tiles of P pixels (of two rows where a row has fewer), then of
// single ones.
template <int V>
void plane(const Plane& plane, TileInput in, TileOutput to) {
  constexpr int P = CONTINUAL_TILE_PIXELS;
  const float* const x = in.x;
  const TileOutput first = to;
  const auto go = [&](int64_t row, int64_t column) {
    in.x = x + row * in.line + column * in.pixel;
    const int64_t at = row * first.line + column * first.out;
    to.y = first.y + at;
    if (first.image != nullptr) to.image = first.image + at;
  };
  int64_t row = 0;
  if (plane.width < P && plane.width % (P / 2) == 0) {
    for (; row + 2 <= plane.height; row += 2) {
      for (int64_t column = 0; column < plane.width; column += P / 2) {
        go(row, column);
        tile<2, P / 2, V>(in, to);
      }
    }
  }
  for (; row < plane.height; ++row) {
    int64_t column = 0;
    for (; column + P <= plane.width; column += P) {
      go(row, column);
      tile<1, P, V>(in, to);
    }
    for (; column < plane.width; ++column) {
      go(row, column);
      tile<1, 1, V>(in, to);
    }
  }
}

int64_t vectorsFor(int64_t channels) {
  const int64_t vectors = channels / lanes;
  for (int64_t v = CONTINUAL_TILE_VECTORS; v > 1; --v) {
    if (vectors % v == 0) return v;
  }
  return 1;
}

// Calls `work.operator()<V>()` for the V that is `vectors`.
template <class Work>
void withVectors(int64_t vectors, const Work& work) {
  if (vectors == 1) work.template operator()<1>();
  if constexpr (CONTINUAL_TILE_VECTORS >= 2) {
    if (vectors == 2) work.template operator()<2>();
  }
  if constexpr (CONTINUAL_TILE_VECTORS >= 3) {
    if (vectors == 3) work.template operator()<3>();
  }
}

// `weights(tap, in, v · 16 + lane)` in blocks of V vectors of the answer's channels, in the order in which tiles read
// them.
template <class At>
void pack(int64_t taps, int64_t in, int64_t out, int64_t vectors, float* packed, At at) {
  const int64_t block = vectors * lanes;
  for (int64_t o = 0; o < out; o += block) {
    for (int64_t tap = 0; tap < taps; ++tap) {
      for (int64_t i = 0; i < in; ++i) {
        for (int64_t j = 0; j < block; ++j) *packed++ = at(tap, i, o + j);
      }
    }
  }
}

// The images' answers of a convolution whose kernel was packed; `shape` is that of the convolution as it is computed.
void answers(const ConvolutionShape& shape, int64_t spacing, int64_t images, const float* x, const float* packed,
             int64_t vectors, const ConvolutionSummands& plus, float* y, float* room) {
  const Padded padded(shape.height, shape.width, shape.in, shape.kernel);
  const bool copies = shape.kernel > 1 || spacing > 1;
  const int64_t rows = shape.height / spacing, columns = shape.width / spacing;
  const Plane to{shape.outHeight(), shape.outWidth(), shape.stride};
  for (int64_t n = 0; n < images; ++n) {
    const float* image = x + n * rows * columns * shape.in;
    if (copies) padded.fill(image, rows, columns, spacing, room);
    for (int64_t o = 0; o < shape.out; o += vectors * lanes) {
      const TileInput in{copies ? room : image,
                         shape.stride * shape.in,
                         shape.stride * padded.row(),
                         padded.row(),
                         shape.kernel * shape.in,
                         shape.kernel,
                         packed + o * shape.taps() * shape.in};
      const auto shifted = [](const float* p, int64_t by) { return p == nullptr ? p : p + by; };
      const int64_t start = n * to.height * to.width * shape.out + o;
      const TileOutput out{
          y + start, shifted(plus.bias, o), shifted(plus.perImage, n * shape.out + o), shifted(plus.image, start),
          shape.out, to.width * shape.out};
      withVectors(vectors, [&]<int V>() { plane<V>(to, in, out); });
    }
  }
}

void directConvolution(const ConvolutionShape& shape, int64_t images, const float* x, const float* weight,
                       const ConvolutionSummands& plus, float* y, float* scratch) {
  const int64_t taps = shape.taps(), in = shape.in, vectors = vectorsFor(shape.out);
  pack(taps, in, shape.out, vectors, scratch,
       [=](int64_t tap, int64_t i, int64_t o) { return weight[(o * taps + tap) * in + i]; });
  answers(shape, 1, images, x, scratch, vectors, plus, y, scratch + taps * in * shape.out);
}

// The gradient is a convolution too: of dy, its pixels `stride` apart, with the kernel turned around.
void directInput(const ConvolutionShape& shape, int64_t images, const float* dy, const float* weight, float* dx,
                 float* scratch) {
  const int64_t taps = shape.taps(), in = shape.in, vectors = vectorsFor(in);
  pack(taps, shape.out, in, vectors, scratch,
       [=](int64_t tap, int64_t o, int64_t i) { return weight[(o * taps + taps - 1 - tap) * in + i]; });
  const ConvolutionShape back{shape.height, shape.width, shape.out, in, shape.kernel, 1};
  answers(back, shape.stride, images, dy, scratch, vectors, {nullptr, nullptr, nullptr}, dx,
          scratch + taps * in * shape.out);
}

// dw of O output channels and V vectors of input channels for one tap, summed over the pixels of some images.
template <int O, int V>
inline void weightTile(const ConvolutionShape& shape, int64_t images, const float* x, int64_t imageSize, int64_t row,
                       const float* dy, float* dw, int64_t weightRow) {
  Floats sum[O][V];
  for (int o = 0; o < O; ++o) {
    for (int v = 0; v < V; ++v) sum[o][v] = load(dw + o * weightRow + v * lanes);
  }
  const int64_t width = shape.outWidth(), step = shape.stride * shape.in;
  for (int64_t n = 0; n < images; ++n) {
    for (int64_t oy = 0; oy < shape.outHeight(); ++oy) {
      const float* line = x + n * imageSize + oy * shape.stride * row;
      for (int64_t ox = 0; ox < width; ++ox, line += step, dy += shape.out) {
        Floats values[V];
#pragma GCC unroll 4
        for (int v = 0; v < V; ++v) values[v] = load(line + v * lanes);
#pragma GCC unroll 8
        for (int o = 0; o < O; ++o) {
          const Floats factor = splat(dy[o]);
#pragma GCC unroll 4
          for (int v = 0; v < V; ++v) sum[o][v] += values[v] * factor;
        }
      }
    }
  }
  for (int o = 0; o < O; ++o) {
    for (int v = 0; v < V; ++v) store(dw + o * weightRow + v * lanes, sum[o][v]);
  }
}

// Images whose weights' gradient is taken at once: enough pixels for the sums to stay in registers a while, few enough
// for the nearest cache.
int64_t imagesAtOnce(const ConvolutionShape& shape) { return shape.pixels() >= 256 ? 1 : 256 / shape.pixels(); }

// The weights in another order, and images with a border.
int64_t directScratch(const ConvolutionShape& shape) {
  const int64_t padded = (shape.height + shape.kernel - 1) * (shape.width + shape.kernel - 1);
  return shape.taps() * shape.in * shape.out +
         padded * (shape.in > shape.out ? shape.in : shape.out) * imagesAtOnce(shape);
}

void directWeight(const ConvolutionShape& shape, int64_t images, const float* x, const float* dy, float* dw,
                  float* scratch) {
  constexpr int O = CONTINUAL_TILE_PIXELS;
  const Padded padded(shape.height, shape.width, shape.in, shape.kernel);
  const int64_t pixels = shape.pixels(), vectors = vectorsFor(shape.in), most = imagesAtOnce(shape);
  const int64_t weightRow = shape.taps() * shape.in;
  std::memset(dw, 0, sizeof(float) * static_cast<size_t>(shape.out * weightRow));
  for (int64_t first = 0; first < images; first += most) {
    const int64_t count = images - first < most ? images - first : most;
    const float* chunk = x + first * shape.height * shape.width * shape.in;
    if (shape.kernel > 1) {
      for (int64_t n = 0; n < count; ++n) {
        padded.fill(chunk + n * shape.height * shape.width * shape.in, shape.height, shape.width, 1,
                    scratch + n * padded.size());
      }
      chunk = scratch;
    }
    for (int64_t tap = 0; tap < shape.taps(); ++tap) {
      const float* corner = chunk + tap / shape.kernel * padded.row() + tap % shape.kernel * shape.in;
      for (int64_t i = 0; i < shape.in; i += vectors * lanes) {
        for (int64_t o = 0; o < shape.out; o += O) {
          const float* theirs = dy + first * pixels * shape.out + o;
          float* sums = dw + o * weightRow + tap * shape.in + i;
          withVectors(vectors, [&]<int V>() {
            weightTile<O, V>(shape, count, corner + i, padded.size(), padded.row(), theirs, sums, weightRow);
          });
        }
      }
    }
  }
}

}  // namespace
}  // namespace continual
