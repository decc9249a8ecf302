// bf16 convolutions on the processor's tiles (AMX). They replace oneDNN's. Compiled for AMX and AVX-512, whatever the
// build is for: see CMakeLists.txt.
//
// Here are the output and the gradient of the images, which is a convolution with the kernels turned around.

#include "kernels/amx_weight.h"

namespace continual {
namespace {

/// Sums of 2 × 2 tiles, 32 × 32 numbers, begin as the bias of 32 channels.
inline void beginSums(const float* bias) {
  _tile_loadd(0, bias, 0);  // the same for all rows
  _tile_loadd(1, bias + 16, 0);
  _tile_loadd(2, bias, 0);
  _tile_loadd(3, bias + 16, 0);
}

inline void addProducts(const Number* rows0, const Number* rows1, int64_t rowBytes, const Number* columns) {
  _tile_loadd(4, rows0, rowBytes);
  _tile_loadd(6, columns, 64);
  _tile_loadd(7, columns + tileNumbers, 64);
  _tile_dpbf16ps(0, 4, 6);
  _tile_dpbf16ps(1, 4, 7);
  _tile_loadd(5, rows1, rowBytes);
  _tile_dpbf16ps(2, 5, 6);
  _tile_dpbf16ps(3, 5, 7);
}

inline void storeSums(float* to) {
  constexpr int64_t bytes = 4 * block;
  _tile_stored(0, to, bytes);
  _tile_stored(1, to + 16, bytes);
  _tile_stored(2, to + 16 * block, bytes);
  _tile_stored(3, to + 16 * block + 16, bytes);
}

/// Images in scratch with zeros around them, at each pixel all of them side by side. A tile's rows are the images of
/// one pixel, or of some next to each other; of 32 images there are two tiles for each pixel.
struct Frame {
  int64_t height, width, channels, images, across;  // pixels that a tile goes across

  Frame(const ConvolutionShape& shape, int64_t channels_, int64_t most)
      : height(shape.height), width(shape.width), channels(whole(channels_)), images(32), across(1) {
    while (images > 1 && (images > most || images * height * width > mostPixels || size() > frameNumbers)) images /= 2;
    while (2 * across * images <= 16 && width % (2 * across) == 0) across *= 2;
  }
  /// From one row of a tile to the next: no power of two, which would be the same few sets of a cache for all.
  int64_t pitch() const { return channels + block; }
  int64_t pixel() const { return images * pitch(); }
  int64_t row() const { return (width + 2) * pixel(); }
  int64_t at(int64_t y, int64_t x) const { return (y + 1) * row() + (x + 1) * pixel(); }
  int64_t size() const { return (height + 2) * row(); }
  int64_t rows() const { return smaller(16, images * across); }
  int64_t tiles() const { return height * width * images / rows(); }
};

/// Where a tile begins.
struct Place {
  int64_t y = 0, x = 0, image = 0;

  Place next(const Frame& frame) const {
    if (frame.images > 16 && image == 0) return {y, x, 16};
    return x + frame.across < frame.width ? Place{y, x + frame.across} : Place{y + 1};
  }
};

/// Which of the 3 × 3 taps meet anything but the frame.
inline unsigned tapsThatMeet(const Frame& frame, const Place& place) {
  const unsigned left = place.x > 0 || frame.across > 1 ? 1 : 0;
  const unsigned right = place.x + 1 < frame.width ? 4 : 0;  // a tile of several pixels begins before the last
  const unsigned row = left | 2 | right;
  return (place.y > 0 ? row : 0) | row << 3 | (place.y + 1 < frame.height ? row << 6 : 0);
}

void fill(const Frame& frame, int64_t channels, const Number* x, Number* to) {
  for (int64_t n = 0; n < frame.images; ++n) {
    for (int64_t i = 0; i < frame.height; ++i) {
      Number* target = to + frame.at(i, 0) + n * frame.pitch();
      for (int64_t j = 0; j < frame.width; ++j, x += channels, target += frame.pixel()) {
        for (int64_t c = 0; c < channels; c += block) storeWords(target + c, loadWords(x + c, channels - c));
      }
    }
  }
}

/// The kernels of 32 channels of the output: tap by tap, and of each its blocks of channels, with two tiles for each.
using PackKernels = void (*)(const ConvolutionShape&, int64_t first, const Number* weight, Number* to);

void packForward(const ConvolutionShape& shape, int64_t first, const Number* weight, Number* to) {
  for (int64_t tap = 0; tap < 9; ++tap) {
    for (int64_t c = 0; c < shape.in; c += block) {
      for (int64_t o = first; o < first + block; o += 16, to += tileNumbers) {
        Floats rows[16] = {};
        for (int64_t i = 0; i < 16 && o < shape.out; ++i) {
          rows[i] = loadWords(weight + ((o + i) * 9 + tap) * shape.in + c, shape.in - c);
        }
        transpose(rows);
        for (int64_t i = 0; i < 16; ++i) storeWords(to + i * block, rows[i]);
      }
    }
  }
}

void packBackward(const ConvolutionShape& shape, int64_t first, const Number* weight, Number* to) {
  for (int64_t tap = 0; tap < 9; ++tap) {
    for (int64_t o = 0; o < shape.out; o += block) {
      for (int64_t c = first; c < first + block; c += 16, to += tileNumbers) {
        for (int64_t i = 0; i < 16; ++i) {
          const Number* const even = weight + ((o + 2 * i) * 9 + 8 - tap) * shape.in + c;
          const bool there = o + 2 * i < shape.out && c < shape.in;
          storeWords(to + i * block, there ? pairs(even, even + 9 * shape.in) : splat(0));
        }
      }
    }
  }
}

/// The output's 32 channels from `first` on.
struct Output {
  const Frame& frame;
  int64_t channels, first;
  const Number *perImage, *image;  // summands
  Number* y;

  void operator()(const Place& place, const float* sums) const {
    const int64_t row = frame.width * channels, each = frame.height * row, images = smaller(16, frame.images);
    for (int64_t x = place.x; x < place.x + frame.across; ++x) {
      int64_t at = place.image * each + place.y * row + x * channels + first;
      for (int64_t n = place.image; n < place.image + images; ++n, at += each, sums += block) {
        for (int64_t half = 0; half < block && first + half < channels; half += 16) {
          Floats sum = load(sums + half);
          if (perImage != nullptr) sum += load(perImage + n * channels + first + half);
          if (image != nullptr) sum += load(image + at + half);
          store(y + at + half, sum);
        }
      }
    }
  }
};

/// What a convolution needs room for: a frame, and the kernels of 32 channels of the output or, where the cache holds
/// them too, of all.
struct Room {
  Frame frame;
  int64_t kernels;  // of 32 channels
  bool all;
  int64_t size;

  Room(const ConvolutionShape& shape, int64_t in, int64_t out, int64_t images)
      : frame(shape, in, images), kernels(9 * whole(in) * block) {
    const int64_t each = kernels * (whole(out) / block);
    all = frame.size() + each <= roomNumbers;
    size = frame.size() + (all ? each : kernels);
  }
};

void convolve(const ConvolutionShape& shape, int64_t in, int64_t out, PackKernels pack, int64_t images, const Number* x,
              const Number* weight, const ConvolutionSummands<Number>& plus, Number* y, Number* scratch) {
  const Room room(shape, in, out, images);
  const int64_t pixels = shape.height * shape.width;
  Number* const packed = scratch + room.frame.size();
  alignas(64) float sums[2 * 16 * block], bias[block];
  int64_t count = 0;
  for (int64_t start = 0; start < images; start += count) {
    const Frame frame(shape, in, smaller(room.frame.images, images - start));
    const int64_t tiles = frame.tiles();
    const bool other = count != frame.images;
    count = frame.images;
    if (other) std::memset(scratch, 0, static_cast<size_t>(2 * frame.size()));
    fill(frame, in, x + start * pixels * in, scratch);
    const Tiles registers(frame.rows());
    for (int64_t o = 0; o < out; o += block) {
      Number* const columns = room.all ? packed + o / block * room.kernels : packed;
      if (!room.all || start == 0) pack(shape, o, weight, columns);
      const auto at = [&](const Number* from, int64_t step) { return from == nullptr ? from : from + start * step; };
      const Output output{
          frame, out, o, at(plus.perImage, out), at(plus.image, pixels * out), y + start * pixels * out};
      for (int64_t i = 0; i < block; i += 16) {
        store(bias + i, plus.bias == nullptr || o + i == out ? splat(0) : load(plus.bias + o + i));
      }
      finishStores();
      Place first, second;
      for (int64_t tile = 0; tile < tiles; tile += 2, first = second.next(frame)) {
        second = tile + 1 < tiles ? first.next(frame) : first;
        const auto rows = [&](const Place& p) { return scratch + frame.at(p.y, p.x) + p.image * frame.pitch(); };
        const unsigned taps = tapsThatMeet(frame, first) | tapsThatMeet(frame, second);
        beginSums(bias);
        for (int64_t tap = 0; tap < 9; ++tap) {
          if ((taps >> tap & 1) == 0) continue;
          const int64_t shift = (tap / 3 - 1) * frame.row() + (tap % 3 - 1) * frame.pixel();
          const Number *a = rows(first) + shift, *b = rows(second) + shift, *w = columns + tap * frame.channels * block;
          for (int64_t c = 0; c < in; c += block, a += block, b += block, w += 2 * tileNumbers) {
            addProducts(a, b, 2 * frame.pitch(), w);
          }
        }
        storeSums(sums);
        output(first, sums);
        output(second, sums + 16 * block);
      }
    }
  }
}

void convolution(const ConvolutionShape& shape, int64_t images, const Number* x, const Number* weight,
                 const ConvolutionSummands<Number>& plus, Number* y, float* scratch) {
  convolve(shape, shape.in, shape.out, packForward, images, x, weight, plus, y, reinterpret_cast<Number*>(scratch));
}

void convolutionInput(const ConvolutionShape& shape, int64_t images, const Number* dy, const Number* weight, Number* dx,
                      float* scratch) {
  convolve(shape, shape.out, shape.in, packBackward, images, dy, weight, {}, dx, reinterpret_cast<Number*>(scratch));
}

int64_t convolutionScratch(const ConvolutionShape& shape, int64_t images) {
  const int64_t there = Room(shape, shape.in, shape.out, images).size;
  const int64_t back = Room(shape, shape.out, shape.in, images).size;
  const int64_t weight = Portion(shape, images).size(), most = there > back ? there : back;
  return (most > weight ? most : weight) / 2;
}

}  // namespace

const ConvolutionKernels<BFloat16> amxConvolution{convolutionScratch, convolution, convolutionInput, convolutionWeight};

}  // namespace continual
