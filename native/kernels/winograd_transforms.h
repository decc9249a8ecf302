#pragma once

// Winograd's minimal filtering F(4 × 4, 3 × 3), as in Lavin and Gray, arXiv 1509.09308: a tile of 4 × 4 outputs takes
// 36 products for each pair of channels in place of 144.
//
//   output = Aᵀ [(G w Gᵀ) ⊙ (Bᵀ x B)] A      hence      dw = Gᵀ [(A dy Aᵀ) ⊙ (Bᵀ x B)] G
//
// x is a tile's 6 × 6 pixels, w a kernel.

#include "kernels/vector.h"

namespace continual {
namespace {

// One dimension of each transform, at the points 0, ±near, ±far and ∞. These two lose half as many digits as ±1 and ±2;
// their powers up to the third are exact.
constexpr float near = 0.75F, far = 1.5F;
constexpr float near2 = near * near, near3 = near2 * near, far2 = far * far, far3 = far2 * far;

// The four points that come in pairs, of the even and the odd part of a polynomial there.
inline void atPoints(Floats nearEven, Floats nearOdd, Floats farEven, Floats farOdd, Floats (&t)[6]) {
  t[1] = nearEven + nearOdd;
  t[2] = nearEven - nearOdd;
  t[3] = farEven + farOdd;
  t[4] = farEven - farOdd;
}

inline void inputTransform(const Floats (&d)[6], Floats (&t)[6]) {  // Bᵀ
  const Floats nearEven = d[4] - far2 * d[2], nearOdd = near * (d[3] - far2 * d[1]);
  const Floats farEven = d[4] - near2 * d[2], farOdd = far * (d[3] - near2 * d[1]);
  t[0] = near2 * far2 * d[0] - (near2 + far2) * d[2] + d[4];
  atPoints(nearEven, nearOdd, farEven, farOdd, t);
  t[5] = near2 * far2 * d[1] - (near2 + far2) * d[3] + d[5];
}

constexpr float zeroScale = 1 / (near2 * far2);
constexpr float nearScale = 1 / (2 * near2 * (near2 - far2)), farScale = 1 / (2 * far2 * (far2 - near2));

inline void kernelTransform(const Floats (&g)[3], Floats (&u)[6]) {  // G
  const Floats nearEven = nearScale * (g[0] + near2 * g[2]), nearOdd = nearScale * near * g[1];
  const Floats farEven = farScale * (g[0] + far2 * g[2]), farOdd = farScale * far * g[1];
  u[0] = zeroScale * g[0];
  atPoints(nearEven, nearOdd, farEven, farOdd, u);
  u[5] = g[2];
}

inline void outputTransform(const Floats (&m)[6], Floats (&y)[4]) {  // Aᵀ
  const Floats nearSum = m[1] + m[2], nearDifference = m[1] - m[2];
  const Floats farSum = m[3] + m[4], farDifference = m[3] - m[4];
  y[0] = m[0] + nearSum + farSum;
  y[1] = near * nearDifference + far * farDifference;
  y[2] = near2 * nearSum + far2 * farSum;
  y[3] = near3 * nearDifference + far3 * farDifference + m[5];
}

inline void outputGradient(const Floats (&y)[4], Floats (&z)[6]) {  // A
  const Floats nearEven = y[0] + near2 * y[2], nearOdd = near * y[1] + near3 * y[3];
  const Floats farEven = y[0] + far2 * y[2], farOdd = far * y[1] + far3 * y[3];
  z[0] = y[0];
  atPoints(nearEven, nearOdd, farEven, farOdd, z);
  z[5] = y[3];
}

inline void kernelGradient(const Floats (&u)[6], Floats (&g)[3]) {  // Gᵀ
  const Floats nearSum = nearScale * (u[1] + u[2]), nearDifference = nearScale * (u[1] - u[2]);
  const Floats farSum = farScale * (u[3] + u[4]), farDifference = farScale * (u[3] - u[4]);
  g[0] = zeroScale * u[0] + nearSum + farSum;
  g[1] = near * nearDifference + far * farDifference;
  g[2] = near2 * nearSum + far2 * farSum + u[5];
}

// Both dimensions, of what `from(y, x)` gives; `to(y, row)` takes a row of the result. The loops stay loops: unrolled,
// they would keep the addresses of 36 places apart.
template <int From, int To, class Source, class Sink>
[[gnu::always_inline]] inline void transform(void (&one)(const Floats (&)[From], Floats (&)[To]), Source from,
                                             Sink to) {
  Floats half[From][To];
#pragma GCC unroll 1
  for (int x = 0; x < From; ++x) {
    Floats column[From];
    for (int y = 0; y < From; ++y) column[y] = from(y, x);
    one(column, half[x]);
  }
#pragma GCC unroll 1
  for (int y = 0; y < To; ++y) {
    Floats row[From], result[To];
    for (int x = 0; x < From; ++x) row[x] = half[x][y];
    one(row, result);
    to(y, result);
  }
}

}  // namespace
}  // namespace continual
