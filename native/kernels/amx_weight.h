#pragma once

// The gradient of a convolution's kernels, on tiles.

#include "kernels/amx_tiles.h"
#include "kernels/transpose.h"

namespace continual {
namespace {

/// What is summed lies in tiles of `images` images at some pixels next to each other, 32 in all. As much at once as the
/// second cache holds: some channels of both sides, and some rows.
struct Portion {
  int64_t height, width, images = 32, in, out, rows;

  Portion(const ConvolutionShape& shape, int64_t all) : height(shape.height), width(shape.width) {
    const auto unfilled = [&] { return 4 * ((all + images - 1) / images * images) > 5 * all; };
    while (images > 2 && (images * height * width > mostPixels || unfilled()) && width % (2 * across()) == 0)
      images /= 2;
    int64_t most = 4 * block;
    while (most > block && 4 * row(most) > cacheNumbers) most /= 2;
    in = smaller(most, whole(shape.in));
    out = smaller(most, shape.out);
    rows = smaller(height, (cacheNumbers - 2 * row(in)) / (row(in) + row(out)));
    if (rows < 1) rows = 1;
  }
  int64_t across() const { return 32 / images; }
  /// Numbers of all images at a pixel, sixteen channels each.
  int64_t pixel() const { return images * 16; }
  /// Numbers of a row, with a pixel of zeros at both ends.
  int64_t row(int64_t channels) const { return (width + 2) * pixel() * channels / 16; }
  int64_t sums() const { return 9 * in * out; }
  int64_t size() const { return 2 * sums() + (rows + 2) * row(in) + rows * row(out); }
};

/// Lays out a row of images as tiles of sixteen channels and pairs of images. There may be fewer images than the
/// portion takes. The pixels of x follow one another, so that a tile may begin at any of them. A tile of dy has a row
/// for each channel.
template <bool ofX>
void gather(const Portion& portion, int64_t images, int64_t all, int64_t channels, const Number* row, Number* to) {
  constexpr Number zeros[16] = {};
  const int64_t image = portion.height * portion.width * all, eachPixel = portion.images / 2;
  for (int64_t x = 0; x < portion.width; x += portion.across()) {
    for (int64_t c = 0; c < channels; c += block) {  // whole lines of the cache
      const int64_t halves = channels - c < block ? 1 : 2;
      Floats tiles[2][16];
      for (int64_t i = 0; i < 16; ++i) {
        const int64_t n = 2 * (i % eachPixel);
        const Number* const at = row + (x + i / eachPixel) * all + n * image + c;
        for (int64_t half = 0; half < halves; ++half) {
          tiles[half][i] = pairs(n < images ? at + 16 * half : zeros, n + 1 < images ? at + image + 16 * half : zeros);
        }
      }
      for (int64_t half = 0; half < halves; ++half) {
        if constexpr (!ofX) transpose(tiles[half]);
        Number* const target = to + (ofX ? ((c / 16 + half) * (portion.width + 2) + x + 1) * portion.pixel()
                                         : x * portion.pixel() * channels / 16 + (c / 16 + half) * tileNumbers);
        for (int64_t i = 0; i < 16; ++i) storeWords(target + i * block, tiles[half][i]);
      }
    }
  }
}

/// Sums of 16 × 32 numbers for each of a row's taps, one after the other; their rows are so many bytes apart, and the
/// taps' sums so many numbers.
inline void clearTaps() {
  _tile_zero(0);
  _tile_zero(1);
  _tile_zero(2);
  _tile_zero(3);
  _tile_zero(4);
  _tile_zero(5);
}

inline void loadTaps(const float* from, int64_t bytes, int64_t tap) {
  _tile_loadd(0, from, bytes);
  _tile_loadd(1, from + 16, bytes);
  _tile_loadd(2, from + tap, bytes);
  _tile_loadd(3, from + tap + 16, bytes);
  _tile_loadd(4, from + 2 * tap, bytes);
  _tile_loadd(5, from + 2 * tap + 16, bytes);
}

inline void storeTaps(float* to, int64_t bytes, int64_t tap) {
  _tile_stored(0, to, bytes);
  _tile_stored(1, to + 16, bytes);
  _tile_stored(2, to + tap, bytes);
  _tile_stored(3, to + tap + 16, bytes);
  _tile_stored(4, to + 2 * tap, bytes);
  _tile_stored(5, to + 2 * tap + 16, bytes);
}

/// Adds the products of a tile of dy with those of x at a row's taps, or without the left or the right one. x's two
/// tiles of channels are `toSecond` numbers apart, and neighbouring pixels `pixel`.
template <bool left, bool right>
inline void addTaps(const Number* dy, const Number* x, int64_t toSecond, int64_t pixel) {
  _tile_loadd(6, dy, 64);
  if constexpr (left) {
    _tile_loadd(7, x - pixel, 64);
    _tile_dpbf16ps(0, 6, 7);
    _tile_loadd(7, x - pixel + toSecond, 64);
    _tile_dpbf16ps(1, 6, 7);
  }
  _tile_loadd(7, x, 64);
  _tile_dpbf16ps(2, 6, 7);
  _tile_loadd(7, x + toSecond, 64);
  _tile_dpbf16ps(3, 6, 7);
  if constexpr (right) {
    _tile_loadd(7, x + pixel, 64);
    _tile_dpbf16ps(4, 6, 7);
    _tile_loadd(7, x + pixel + toSecond, 64);
    _tile_dpbf16ps(5, 6, 7);
  }
}

/// Adds the products of rows `top` to `bottom` of dy, and for each tap x where it meets them. The taps of a row share
/// what is loaded.
void sumRows(const Portion& portion, int64_t in, int64_t out, int64_t top, int64_t bottom, const Number* ofX,
             const Number* ofY, bool first, float* sums) {
  const int64_t width = portion.width, ring = portion.rows + 2, step = portion.across(), pixel = portion.pixel();
  const int64_t toSecond = (width + 2) * pixel, bytes = 4 * in, tap = out * in;
  for (int64_t down = -1; down <= 1; ++down) {
    for (int64_t o = 0; o < out; o += 16) {
      for (int64_t c = 0; c < in; c += block) {
        float* const sum = sums + (3 * (down + 1) * out + o) * in + c;
        if (first) {
          clearTaps();
        } else {
          loadTaps(sum, bytes, tap);
        }
        for (int64_t i = top; i < bottom; ++i) {
          if (i + down < 0 || i + down >= portion.height) continue;
          const Number* dy = ofY + (i - top) * portion.row(out) + o * block;
          const Number* x = ofX + (i + down) % ring * portion.row(in) + c / 16 * toSecond + pixel;
          const auto add = [&]<bool left, bool right>() {
            addTaps<left, right>(dy, x, toSecond, pixel);
            dy += block * out;
            x += tileNumbers;
          };
          if (step > 1) {  // a tile reaches beyond the edge at most with some of its pixels
            for (int64_t j = 0; j < width; j += step) add.template operator()<true, true>();
          } else if (width == 1) {
            add.template operator()<false, false>();
          } else {
            add.template operator()<false, true>();
            for (int64_t j = 1; j + 1 < width; ++j) add.template operator()<true, true>();
            add.template operator()<true, false>();
          }
        }
        storeTaps(sum, bytes, tap);
      }
    }
  }
}

void convolutionWeight(const ConvolutionShape& shape, int64_t images, const Number* x, const Number* dy, Number* dw,
                       float* scratch) {
  const Portion portion(shape, images);
  const int64_t width = shape.width, height = shape.height, pixels = height * width, ring = portion.rows + 2;
  float* const sums = scratch;
  Number* const ofX = reinterpret_cast<Number*>(sums + portion.sums());
  Number* const ofY = ofX + ring * portion.row(portion.in);
  const Tiles registers(16);
  for (int64_t firstIn = 0; firstIn < shape.in; firstIn += portion.in) {
    const int64_t there = smaller(portion.in, shape.in - firstIn), in = whole(there);
    std::memset(ofX, 0, static_cast<size_t>(2 * ring * portion.row(in)));
    for (int64_t firstOut = 0; firstOut < shape.out; firstOut += portion.out) {
      const int64_t out = smaller(portion.out, shape.out - firstOut);
      for (int64_t start = 0; start < images; start += portion.images) {
        const int64_t count = smaller(portion.images, images - start);
        for (int64_t top = 0, next = 0; top < height; top += portion.rows) {
          const int64_t bottom = smaller(height, top + portion.rows);
          for (; next < smaller(height, bottom + 1); ++next) {
            gather<true>(portion, count, shape.in, there, x + (start * pixels + next * width) * shape.in + firstIn,
                         ofX + next % ring * portion.row(in));
          }
          for (int64_t i = top; i < bottom; ++i) {
            gather<false>(portion, count, shape.out, out, dy + (start * pixels + i * width) * shape.out + firstOut,
                          ofY + (i - top) * portion.row(out));
          }
          finishStores();
          sumRows(portion, in, out, top, bottom, ofX, ofY, start == 0 && top == 0, sums);
        }
      }
      for (int64_t tap = 0; tap < 9; ++tap) {
        for (int64_t o = 0; o < out; ++o) {
          for (int64_t c = 0; c < there; c += 16) {
            store(dw + ((firstOut + o) * 9 + tap) * shape.in + firstIn + c, load(sums + (tap * out + o) * in + c));
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace continual
