#pragma once

// The processor's tiles (AMX), and what both directions of a convolution do with them.
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

/// Reads `count` numbers, 16 or at least 32. Sixteen are followed by as many zeros.
inline Floats loadWords(const Number* from, int64_t count) {
  return reinterpret_cast<Floats>(_mm512_maskz_loadu_epi16(count < block ? 0xFFFF : ~__mmask32{0}, from));
}

/// Channels are multiples of sixteen; with zeros, of 32.
inline int64_t whole(int64_t channels) { return (channels + 16) / block * block; }

}  // namespace
}  // namespace continual
