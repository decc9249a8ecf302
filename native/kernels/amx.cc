// bf16 convolutions on the processor's tiles (AMX). They replace oneDNN's. Compiled for AMX and AVX-512, whatever the
// build is for: see CMakeLists.txt.
//
// A tile holds 16 rows of 64 bytes: sixteen rows of one matrix, 32 bf16 numbers each; as many numbers of sixteen
// columns of the other, in pairs along the sum, a row for each pair; or 16 × 16 float32 sums of their products. All
// that is multiplied comes from copies in `scratch` that fit in the second cache, but for large images; from further
// away tiles come at a fifth of the speed.

#include <immintrin.h>

#include "kernels/vector.h"

namespace continual {
namespace {

using Number = BFloat16;

constexpr int64_t block = 32;                // channels that two tiles hold, or one as pairs
constexpr int64_t tileNumbers = 16 * block;  // bf16 numbers of a tile

/// bf16 numbers that may lie in the second cache, which has 2 MiB: when all of it is gone through again and again, of
/// images beside a part of the kernels, and of images and all kernels.
constexpr int64_t cacheNumbers = 512 * 1024, frameNumbers = 640 * 1024, roomNumbers = 768 * 1024;

/// Pixels of images that are worked on side by side. Of small images these are many: a tile then holds one pixel of
/// theirs, and what is outside of them at that pixel needs no products. Of large ones few, for the sake of the caches.
constexpr int64_t mostPixels = 512;

inline int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

/// The tile registers: 0 to 5 have `rows` rows, 6 and 7, in which columns lie, all sixteen.
class alignas(64) Tiles {
 public:
  explicit Tiles(int64_t rows) {
    for (int i = 0; i < 8; ++i) {
      columnBytes_[i] = 64;
      rows_[i] = i >= 6 ? 16 : static_cast<uint8_t>(rows);
    }
    // Some compilers' instruction says that it reads eight bytes of the 64.
    __asm__ volatile("" : : "r"(this) : "memory");
    _tile_loadconfig(this);
  }
  ~Tiles() { _tile_release(); }
  Tiles(const Tiles&) = delete;
  Tiles& operator=(const Tiles&) = delete;

 private:
  [[maybe_unused]] uint8_t palette_ = 1, startRow_ = 0, reserved_[14] = {};
  uint16_t columnBytes_[16] = {};
  uint8_t rows_[16] = {};
};

/// The instructions that load tiles don't tell the compiler what memory they read.
inline void finishStores() { __atomic_signal_fence(__ATOMIC_SEQ_CST); }

/// Sixteen numbers of `a`, each followed by its neighbour of `b`, as words of 32 bits.
inline Floats pairs(const Number* a, const Number* b) {
  const auto words = [](const Number* from) {
    Halves bits;
    std::memcpy(&bits, from, sizeof bits);
    return __builtin_convertvector(bits, Words);
  };
  return reinterpret_cast<Floats>(words(a) | (words(b) << 16));
}

inline void storeWords(Number* to, Floats words) { std::memcpy(to, &words, sizeof words); }

/// 32 numbers, of which there are `count` and then zeros.
inline Floats loadWords(const Number* from, int64_t count) {
  return reinterpret_cast<Floats>(_mm512_maskz_loadu_epi16(count < block ? 0xFFFF : ~__mmask32{0}, from));
}

/// Channels are multiples of sixteen; with zeros, of 32.
inline int64_t whole(int64_t channels) { return (channels + 16) / block * block; }

// --- the output, and the gradient of the images, which is a convolution with the kernels turned around --------------

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

// --- the gradient of the kernels ------------------------------------------------------------------------------------

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

/// A row of images, of which there may be fewer than the portion's: tiles with sixteen channels, and of the images
/// pairs. For x one after the other, so that a tile may begin at any pixel; for dy with a row for each channel.
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

int64_t convolutionScratch(const ConvolutionShape& shape, int64_t images) {
  const int64_t there = Room(shape, shape.in, shape.out, images).size;
  const int64_t back = Room(shape, shape.out, shape.in, images).size;
  const int64_t weight = Portion(shape, images).size(), most = there > back ? there : back;
  return (most > weight ? most : weight) / 2;
}

}  // namespace

const ConvolutionKernels<BFloat16> amxConvolution{convolutionScratch, convolution, convolutionInput, convolutionWeight};

}  // namespace continual
