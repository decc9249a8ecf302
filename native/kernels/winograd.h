#pragma once

// Convolutions by Winograd's tiles, see winograd_transforms.h. They replace oneDNN's. The products are summed over
// channels (for weights: over tiles) by 36 matrix products, one for each place in a transformed tile.

#include "kernels/transpose.h"
#include "kernels/winograd_transforms.h"

namespace continual {
namespace {

constexpr int64_t places = 36;
// Of 32 registers of sixteen floats, or of 16 of eight: sums of 8 × 3, or 4 × 3, products, three for the vectors, one
// for the number.
constexpr int64_t group = lanes / 2, mostVectors = 3;

/// Transformed tiles of some channels: in groups, so that the places of one tile are not far apart; a group has them
/// place by place. The distance from one place to the next is no power of two, which would be the same few sets of the
/// cache for all of them.
struct Transformed {
  int64_t channels;

  int64_t plane() const { return group * channels + lanes; }
  /// Where a tile's first place is.
  int64_t tile(int64_t index) const { return index / group * places * plane() + index % group * channels; }
  /// Numbers of `tiles` tiles.
  int64_t size(int64_t tiles) const { return tile((tiles + group - 1) / group * group); }
};

// As many vectors of channels as a tile of products takes, so that all channels are whole tiles.
inline int64_t vectorsFor(int64_t channels) {
  const int64_t vectors = channels / lanes;
  for (int64_t v = mostVectors; v > 1; --v) {
    if (vectors % v == 0) return v;
  }
  return 1;
}

// Calls `work.operator()<V>()` for the V that is `vectors`.
template <class Work>
void withVectors(int64_t vectors, const Work& work) {
  if (vectors == 1) work.template operator()<1>();
  if (vectors == 2) work.template operator()<2>();
  if (vectors == 3) work.template operator()<3>();
}

/// How the images of a convolution from `in` to `out` channels are cut into tiles, and how much is done at once: of the
/// images, enough tiles for a matrix product to be worth fetching the other matrix; of the output's channels, as many
/// as the near caches hold kernels for, or all where kernels would have to be transformed again for other images.
struct Tiling {
  int64_t height, width, down, across, images, channels;

  Tiling(const ConvolutionShape& shape, int64_t in, int64_t out, int64_t all)
      : height(shape.height), width(shape.width), down((height + 3) / 4), across((width + 3) / 4) {
    const int64_t fewer = in < out ? in : out, most = (fewer > 32 ? fewer : 32) / each();
    images = most < 1 ? 1 : most < all ? most : all;
    constexpr int64_t cache = 600'000;  // numbers, about 2.4 MB
    const int64_t block = vectorsFor(out) * lanes, fit = cache / (places * in * block) * block;
    channels = images < all || fit > out ? out : fit < block ? block : fit;
  }
  int64_t each() const { return down * across; }
  int64_t tiles() const { return images * each(); }
  int64_t pixels() const { return height * width; }
};

// Tiles of `images` images, transformed: Size × Size pixels each, four apart; those of 6 × 6 begin a pixel further up
// and left. Outside of an image there are zeros.
template <int Size>
void transformed(const Tiling& tiling, void (&one)(const Floats (&)[Size], Floats (&)[6]), int64_t channels,
                 int64_t images, const float* x, float* to) {
  constexpr int64_t border = Size == 6 ? 1 : 0;
  constexpr float zeros[lanes] = {};
  const Transformed layout{channels};
  const int64_t plane = layout.plane(), row = tiling.width * channels;
  int64_t index = 0;
  for (int64_t n = 0; n < images; ++n, x += tiling.pixels() * channels) {
    for (int64_t tile = 0; tile < tiling.each(); ++tile, ++index) {
      float* const target = to + layout.tile(index);
      const int64_t top = tile / tiling.across * 4 - border, left = tile % tiling.across * 4 - border;
      const auto within = [](int64_t at, int64_t size) {
        return static_cast<uint64_t>(at) < static_cast<uint64_t>(size);
      };
      for (int64_t c = 0; c < channels; c += lanes) {
        transform<Size, 6>(
            one,
            [&](int i, int j) {
              const bool inside = within(top + i, tiling.height) && within(left + j, tiling.width);
              return load(inside ? x + (top + i) * row + (left + j) * channels + c : zeros);
            },
            [=](int i, const Floats(&result)[6]) {
              for (int j = 0; j < 6; ++j) store(target + (6 * i + j) * plane + c, result[j]);
            });
      }
    }
  }
}

// From one place of transformed kernels to the next; no power of two, as above.
constexpr int64_t kernelPlane(int64_t in, int64_t out) { return in * out + lanes; }

template <int V>
inline void clear(Floats (&sum)[group][V]) {
  for (auto& row : sum) {
    for (Floats& s : row) s = splat(0);
  }
}

// Adds the products of `group` numbers, `step` apart, and V vectors; the sums stay in registers.
template <int V>
inline void addProducts(const float* numbers, int64_t step, const float* vectors, Floats (&sum)[group][V]) {
  Floats values[V];
#pragma GCC unroll 4
  for (int v = 0; v < V; ++v) values[v] = load(vectors + v * lanes);
#pragma GCC unroll 8
  for (int p = 0; p < group; ++p) {
    const Floats number = splat(numbers[p * step]);
#pragma GCC unroll 4
    for (int v = 0; v < V; ++v) sum[p][v] += values[v] * number;
  }
}

// The products of all tiles with the kernels of `out` channels: for each place and block of V vectors, in × lanes·V.
template <int V>
void multiplyTiles(int64_t tiles, int64_t in, int64_t out, const float* x, const float* kernels, float* to) {
  const Transformed theirs{in}, ours{out};
  for (int64_t place = 0; place < places; ++place) {
    for (int64_t o = 0; o < out; o += V * lanes) {
      const float* const kernel = kernels + place * kernelPlane(in, out) + o * in;
      for (int64_t t = 0; t < tiles; t += group) {  // the last ones may be nobody's
        Floats sum[group][V];
        clear(sum);
        const float* const rows = x + theirs.tile(t) + place * theirs.plane();
        for (int64_t i = 0; i < in; ++i) addProducts(rows + i, in, kernel + i * V * lanes, sum);
        float* const outputs = to + ours.tile(t) + place * ours.plane() + o;
        for (int p = 0; p < group; ++p) {
          for (int v = 0; v < V; ++v) store(outputs + p * out + v * lanes, sum[p][v]);
        }
      }
    }
  }
}

// What the products say of `count` of the output's `out` channels; `y` and the summands begin at the first of them.
void outputTiles(const Tiling& tiling, int64_t images, int64_t out, int64_t count, const float* products,
                 const ConvolutionSummands<float>& plus, float* y) {
  const Transformed layout{count};
  const int64_t plane = layout.plane(), row = tiling.width * out;
  for (int64_t index = 0; index < images * tiling.each(); ++index) {
    const int64_t n = index / tiling.each(), tile = index % tiling.each();
    const int64_t top = tile / tiling.across * 4, left = tile % tiling.across * 4;
    const int64_t start = n * tiling.pixels() * out + top * row + left * out;
    const int64_t rows = tiling.height - top, columns = tiling.width - left < 4 ? tiling.width - left : 4;
    const float* const source = products + layout.tile(index);
    for (int64_t c = 0; c < count; c += lanes) {
      Floats same = splat(0);
      if (plus.bias != nullptr) same += load(plus.bias + c);
      if (plus.perImage != nullptr) same += load(plus.perImage + n * out + c);
      transform<6, 4>(
          outputTransform, [=](int i, int j) { return load(source + (6 * i + j) * plane + c); },
          [=](int i, const Floats(&outputs)[4]) {
            if (i >= rows) return;
            for (int64_t j = 0; j < columns; ++j) {
              const int64_t at = start + i * row + j * out + c;
              const Floats whole = outputs[j] + same;
              store(y + at, plus.image == nullptr ? whole : whole + load(plus.image + at));
            }
          });
    }
  }
}

// A convolution from `in` to `out` channels. `transformKernels(first, count, to)` writes the transformed kernels of
// some of the output's channels; that is all of them where images are worked on in several rounds.
template <class TransformKernels>
void tiled(const ConvolutionShape& shape, int64_t in, int64_t out, int64_t images, const float* x,
           TransformKernels transformKernels, const ConvolutionSummands<float>& plus, float* y, float* scratch) {
  const Tiling tiling(shape, in, out, images);
  float* const theirs = scratch + places * kernelPlane(in, tiling.channels);
  float* const products = theirs + Transformed{in}.size(tiling.tiles());
  for (int64_t first = 0; first < images; first += tiling.images) {
    const int64_t some = images - first < tiling.images ? images - first : tiling.images;
    transformed<6>(tiling, inputTransform, in, some, x + first * tiling.pixels() * in, theirs);
    for (int64_t o = 0; o < out; o += tiling.channels) {
      const int64_t count = out - o < tiling.channels ? out - o : tiling.channels;
      if (first == 0) transformKernels(o, count, scratch);
      withVectors(vectorsFor(out),
                  [&]<int V>() { multiplyTiles<V>(some * tiling.each(), in, count, theirs, scratch, products); });
      const auto at = [](const float* p, int64_t by) { return p == nullptr ? p : p + by; };
      const int64_t start = first * tiling.pixels() * out + o;
      const ConvolutionSummands<float> here{at(plus.bias, o), at(plus.perImage, first * out + o),
                                            at(plus.image, start)};
      outputTiles(tiling, some, out, count, products, here, y + start);
    }
  }
}

void convolution(const ConvolutionShape& shape, int64_t images, const float* x, const float* weight,
                 const ConvolutionSummands<float>& plus, float* y, float* scratch) {
  const int64_t in = shape.in, block = vectorsFor(shape.out) * lanes;
  const auto kernels = [=](int64_t first, int64_t count, float* to) {
    const int64_t plane = kernelPlane(in, count);
    for (int64_t o = 0; o < count; o += lanes) {
      for (int64_t c = 0; c < in; c += lanes) {
        Floats taps[9][lanes];  // a row for each of x's channels, as many of the output's in it
        for (int64_t tap = 0; tap < 9; ++tap) {
          for (int64_t i = 0; i < lanes; ++i) taps[tap][i] = load(weight + ((first + o + i) * 9 + tap) * in + c);
          transpose(taps[tap]);
        }
        float* const corner = to + o / block * block * in + c * block + o % block;
        for (int64_t i = 0; i < lanes; ++i) {
          transform<3, 6>(
              kernelTransform, [&taps, i](int y, int x) { return taps[3 * y + x][i]; },
              [=](int row, const Floats(&result)[6]) {
                for (int column = 0; column < 6; ++column) {
                  store(corner + (6 * row + column) * plane + i * block, result[column]);
                }
              });
        }
      }
    }
  };
  tiled(shape, in, shape.out, images, x, kernels, plus, y, scratch);
}

// The gradient is a convolution of dy with the kernels turned around.
void convolutionInput(const ConvolutionShape& shape, int64_t images, const float* dy, const float* weight, float* dx,
                      float* scratch) {
  const int64_t in = shape.in, out = shape.out, block = vectorsFor(in) * lanes;
  const auto kernels = [=](int64_t first, int64_t count, float* to) {
    const int64_t plane = kernelPlane(out, count);
    for (int64_t c = 0; c < count; c += lanes) {
      for (int64_t o = 0; o < out; ++o) {
        const float* const taps = weight + o * 9 * in + first + c;
        float* const corner = to + c / block * block * out + o * block + c % block;
        transform<3, 6>(
            kernelTransform, [=](int y, int x) { return load(taps + (8 - 3 * y - x) * in); },
            [=](int row, const Floats(&result)[6]) {
              for (int column = 0; column < 6; ++column) store(corner + (6 * row + column) * plane, result[column]);
            });
      }
    }
  };
  tiled(shape, out, in, images, dy, kernels, {nullptr, nullptr, nullptr}, dx, scratch);
}

// The products of `group` channels of dy and V vectors of x's, summed over tiles.
template <int V>
inline void sumProducts(int64_t tiles, const float* x, int64_t in, const float* dy, int64_t out, float* to) {
  const Transformed theirs{in}, ours{out};
  Floats sum[group][V];
  clear(sum);
  for (int64_t first = 0; first < tiles; first += group) {
    const int64_t count = tiles - first < group ? tiles - first : group;
    const float *from = x + theirs.tile(first), *factors = dy + ours.tile(first);
    for (int64_t t = 0; t < count; ++t, from += in, factors += out) addProducts(factors, 1, from, sum);
  }
  for (int o = 0; o < group; ++o) {
    for (int v = 0; v < V; ++v) store(to + o * in + v * lanes, sum[o][v]);
  }
}

void convolutionWeight(const ConvolutionShape& shape, int64_t images, const float* x, const float* dy, float* dw,
                       float* scratch) {
  const int64_t in = shape.in, out = shape.out, vectors = vectorsFor(in);
  const Tiling tiling(shape, in, out, images);
  const Transformed ofX{in}, ofY{out};
  float* const theirs = scratch + places * kernelPlane(in, tiling.channels);
  float* const ours = theirs + ofX.size(tiling.tiles());
  for (int64_t first = 0; first < images; first += tiling.images) {
    const int64_t some = images - first < tiling.images ? images - first : tiling.images;
    transformed<6>(tiling, inputTransform, in, some, x + first * tiling.pixels() * in, theirs);
    transformed<4>(tiling, outputGradient, out, some, dy + first * tiling.pixels() * out, ours);
    for (int64_t from = 0; from < out; from += tiling.channels) {
      const int64_t count = out - from < tiling.channels ? out - from : tiling.channels;
      const int64_t plane = kernelPlane(in, count);
      for (int64_t place = 0; place < places; ++place) {
        const float *a = theirs + place * ofX.plane(), *b = ours + place * ofY.plane() + from;
        for (int64_t i = 0; i < in; i += vectors * lanes) {
          for (int64_t o = 0; o < count; o += group) {
            withVectors(vectors, [&]<int V>() {
              sumProducts<V>(some * tiling.each(), a + i, in, b + o, out, scratch + place * plane + o * in + i);
            });
          }
        }
      }
      for (int64_t o = 0; o < count; ++o) {
        for (int64_t c = 0; c < in; c += lanes) {
          float* const gradient = dw + (from + o) * 9 * in + c;
          transform<6, 3>(
              kernelGradient, [=](int i, int j) { return load(scratch + (6 * i + j) * plane + o * in + c); },
              [=](int i, const Floats(&sums)[3]) {
                for (int j = 0; j < 3; ++j) {
                  float* const at = gradient + (3 * i + j) * in;
                  store(at, first == 0 ? sums[j] : load(at) + sums[j]);
                }
              });
        }
      }
    }
  }
}

int64_t convolutionScratch(const ConvolutionShape& shape, int64_t images) {
  const auto size = [&](int64_t in, int64_t out) {
    const Tiling tiling(shape, in, out, images);
    return places * kernelPlane(in, tiling.channels) + Transformed{in}.size(tiling.tiles()) +
           Transformed{out}.size(tiling.tiles());
  };
  const int64_t there = size(shape.in, shape.out), back = size(shape.out, shape.in);
  return there > back ? there : back;
}

}  // namespace
}  // namespace continual
