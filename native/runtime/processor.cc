#include "runtime/processor.h"

#ifdef __x86_64__
#include <cpuid.h>
#include <immintrin.h>
#ifdef __linux__
#include <sys/syscall.h>
#include <unistd.h>
#endif
#endif

namespace continual {

#ifdef __x86_64__

namespace {

// Tiles are state that the system must save for a process: it says so in bits 17 and 18.
[[gnu::target("xsave")]] bool savesTiles() { return (_xgetbv(0) >> 17 & 3) == 3; }

// Linux gives a process room for them when it is asked to, before any of its threads touches one.
bool mayUseTiles() {
#ifdef __linux__
  constexpr long request = 0x1023, tileData = 18;  // ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA
  return syscall(SYS_arch_prctl, request, tileData) == 0;
#else
  return true;
#endif
}

}  // namespace

NativeBf16 nativeBf16() {
  unsigned int eax = 0, ebx = 0, ecx = 0, edx = 0;
  __builtin_cpu_init();
  if (!__builtin_cpu_supports("avx512f")) return {false, false};  // also false where the system saves no such state
  const bool amx =
      __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) != 0 && (edx >> 22 & 5) == 5 && savesTiles() && mayUseTiles();
  const bool avx512 = __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) != 0 && (eax >> 5 & 1) != 0;
  return {avx512, amx};
}

#else

NativeBf16 nativeBf16() { return {false, false}; }

#endif

}  // namespace continual
