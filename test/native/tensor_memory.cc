// Takes tensors of random sizes and gives them back in random order, on several threads at once, and prints as JSON
// what came of it: how many were out of line or changed under their owner, and how much memory that took (MiB).
#include "runtime/tensor_memory.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <atomic>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iostream>
#include <random>
#include <string>
#include <thread>
#include <vector>

namespace {

struct Counts {
  std::atomic<int64_t> tensors{0}, misaligned{0}, damaged{0}, live{0}, mostLive{0};
} counts;

struct Held {
  at::Tensor tensor;
  uint8_t tag;
};

Held take(std::mt19937& random) {
  // From bytes to megabytes, each magnitude as often.
  const double magnitude = std::uniform_real_distribution<double>(0, 23)(random);
  const auto size = static_cast<int64_t>(std::exp2(magnitude));
  const auto tag = static_cast<uint8_t>(random());
  const Held held{at::empty({size}, at::kByte).fill_(tag), tag};
  ++counts.tensors;
  if (reinterpret_cast<uintptr_t>(held.tensor.data_ptr()) % 64 != 0) ++counts.misaligned;
  const int64_t live = counts.live += size;
  int64_t most = counts.mostLive;
  while (live > most && !counts.mostLive.compare_exchange_weak(most, live)) {
  }
  return held;
}

void check(const Held& held) {
  if (!held.tensor.eq(held.tag).all().item<bool>()) ++counts.damaged;
  counts.live -= held.tensor.numel();
}

void work(uint32_t seed) {
  std::mt19937 random(seed);
  std::vector<Held> held;
  for (int i = 0; i < 3000; ++i) {
    if (held.size() < 40 || random() % 2 == 0) {
      held.push_back(take(random));
    } else {
      std::swap(held[random() % held.size()], held.back());
      check(held.back());
      held.pop_back();
    }
    if (held.size() == 80) {
      for (const Held& each : held) check(each);
      held.clear();
    }
  }
  for (const Held& each : held) check(each);
}

void crowd(uint32_t first) {
  std::vector<std::thread> threads;
  for (uint32_t seed = first; seed < first + 4; ++seed) threads.emplace_back(work, seed);
  for (std::thread& thread : threads) thread.join();
}

double mebibytes(const std::string& field) {
  std::ifstream status("/proc/self/status");
  for (std::string word; status >> word;) {
    double kibibytes = 0;
    if (word == field + ":" && status >> kibibytes) return kibibytes / 1024;
  }
  return 0;
}

}  // namespace

int main() {
  at::set_num_threads(1);
  continual::useTensorMemory();
  work(1);  // what libtorch and malloc keep
  continual::trimTensorMemory();
  const double residentBefore = mebibytes("VmRSS"), mappedBefore = mebibytes("VmSize");
  crowd(10);
  const double grown = mebibytes("VmSize") - mappedBefore;
  for (uint32_t seed = 20; seed < 60; seed += 10) crowd(seed);
  const double grownLater = mebibytes("VmSize") - mappedBefore;
  continual::trimTensorMemory();
  std::cout << "{\"tensors\":" << counts.tensors << ",\"misaligned\":" << counts.misaligned
            << ",\"damaged\":" << counts.damaged << ",\"mostLive\":" << static_cast<double>(counts.mostLive) / (1 << 20)
            << ",\"grown\":" << grown << ",\"grownLater\":" << grownLater
            << ",\"residentAfter\":" << mebibytes("VmRSS") - residentBefore << "}\n";
}
