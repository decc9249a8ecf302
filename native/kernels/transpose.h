#pragma once

// Squares of floats, as many rows as a register holds.

#include "kernels/vector.h"

namespace continual {
namespace {

// Lanes of a (from 0 on) and b (from `lanes` on).
inline Floats mixed(Floats a, Floats b, Ints from) {
#ifdef __clang__
  Floats result;
  for (int lane = 0; lane < lanes; ++lane) result[lane] = from[lane] < lanes ? a[from[lane]] : b[from[lane] - lanes];
  return result;
#else
  return __builtin_shuffle(a, b, from);
#endif
}

#ifdef __AVX512F__
constexpr Ints laneNumbers{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
#else
constexpr Ints laneNumbers{0, 1, 2, 3, 4, 5, 6, 7};
#endif

// Swaps rows and columns of a square: blocks of Size × Size, then those within them.
template <int Size = lanes / 2>
inline void transpose(Floats (&rows)[lanes]) {
  const Ints upper = (laneNumbers & Size) != 0;  // all ones or zeros
  const Ints left = (~upper & laneNumbers) | (upper & (laneNumbers - Size + lanes)),
             right = (~upper & (laneNumbers + Size)) | (upper & (laneNumbers + lanes));
  for (int i = 0; i < lanes; ++i) {
    if ((i & Size) != 0) continue;
    const Floats a = rows[i], b = rows[i + Size];
    rows[i] = mixed(a, b, left);
    rows[i + Size] = mixed(a, b, right);
  }
  if constexpr (Size > 1) transpose<Size / 2>(rows);
}

}  // namespace
}  // namespace continual
