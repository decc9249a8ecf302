// The generator's numbers at three places: of each, the upper 24 bits of a block's four words. The test compares them
// with the vectors that are published with Philox4x32-10.
#include "runtime/random.h"

#include <iostream>

namespace {

void print(uint64_t seed, uint64_t stream, uint64_t position) {
  continual::Random random(seed, static_cast<continual::Purpose>(stream >> 56), stream & ((uint64_t{1} << 56) - 1));
  while (position > 0) {  // a count of numbers is signed
    const uint64_t blocks = std::min(position, uint64_t{1} << 60);
    random.take(static_cast<int64_t>(blocks * 4));
    position -= blocks;
  }
  const at::Tensor words = random.uniform({4}, 0, 1);
  for (int i = 0; i < 4; ++i) {
    std::cout << static_cast<int64_t>(words.const_data_ptr<float>()[i] * 0x1p24F) << (i < 3 ? ' ' : '\n');
  }
}

}  // namespace

int main() {
  print(0, 0, 0);
  print(~uint64_t{0}, ~uint64_t{0}, ~uint64_t{0});
  print(0x299f31d0a4093822, 0x0370734413198a2e, 0x85a308d3243f6a88);
}
