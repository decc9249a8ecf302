#pragma once

namespace continual {

/// Whether the processor multiplies bf16 itself; where it doesn't, libtorch emulates it, slower than float32.
struct NativeBf16 {
  bool avx512, amx;
};

NativeBf16 nativeBf16();

}  // namespace continual
