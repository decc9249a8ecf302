#pragma once

// A square of sixteen by sixteen floats, for instruction sets whose registers hold sixteen.

#include "kernels/vector.h"

namespace continual {
namespace {

// Lanes of a (0 … 15) and b (16 … 31).
inline Floats mixed(Floats a, Floats b, Ints from) {
#ifdef __clang__
  Floats result;
  for (int lane = 0; lane < lanes; ++lane) result[lane] = from[lane] < lanes ? a[from[lane]] : b[from[lane] - lanes];
  return result;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

// Swaps rows and columns of a square of sixteen by sixteen: blocks of Size × Size, then those within them.
template <int Size = 8>
inline void transpose(Floats (&rows)[16]) {
  constexpr Ints lane{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  const Ints upper = (lane & Size) != 0;  // all ones or zeros
  const Ints left = (~upper & lane) | (upper & (lane - Size + 16)),
             right = (~upper & (lane + Size)) | (upper & (lane + 16));
  for (int i = 0; i < 16; ++i) {
    if ((i & Size) != 0) continue;
    const Floats a = rows[i], b = rows[i + Size];
    rows[i] = mixed(a, b, left);
    rows[i + Size] = mixed(a, b, right);
  }
  if constexpr (Size > 1) transpose<Size / 2>(rows);
}

}  // namespace
}  // namespace continual
