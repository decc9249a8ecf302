#pragma once

namespace continual {

/// Whether the processor multiplies bf16 itself; where it doesn't, libtorch emulates it, slower than float32.
struct NativeBf16 {
  bool avx512, amx;
};

/// Asks the system to let this process use AMX's tiles; where it doesn't, `amx` is false.
NativeBf16 nativeBf16();

}  // namespace continual
