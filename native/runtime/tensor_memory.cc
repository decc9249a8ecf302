#include "runtime/tensor_memory.h"

#include <c10/core/CPUAllocator.h>
#include <c10/util/Exception.h>
#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <utility>

#include "runtime/available_memory.h"

namespace continual {

namespace {

constexpr size_t smallest = size_t{128} << 10;  // what malloc asks the system for by default
constexpr size_t alignment = 64;
constexpr size_t growth = size_t{2} << 20;  // also the size of a huge page

size_t roundedUp(size_t size, size_t to) { return (size + to - 1) / to * to; }

/// Below this a look at what is available costs more than it tells.
constexpr size_t lookedAt = size_t{32} << 20;

/// The system promises more memory than there is, and ends the process when it is used. A sixteenth is left to others.
void checkAvailable(size_t size) {
  if (size < lookedAt) return;
  const size_t all = availableMemory();
  const size_t available = all - all / 16;
  TORCH_CHECK_WITH(OutOfMemoryError, size <= available, "the host is out of memory: ", size >> 20,
                   " MiB more are needed, and ", available >> 20, " MiB are available");
}

/// A range of addresses, mapped from below as far as it is needed: blocks without gaps, never two free ones side by
/// side.
class Region {
 public:
  /// Finds a hole that is four times as large as the machine's memory, so that gaps between tensors never fill it. The
  /// system maps what others ask for from above.
  Region() {
    const size_t memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * static_cast<size_t>(sysconf(_SC_PAGESIZE));
    const size_t size = 4 * memory + growth;
    void* const at = mmap(nullptr, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED) return;
    munmap(at, size);
    begin_ = reinterpret_cast<std::byte*>(roundedUp(reinterpret_cast<uintptr_t>(at), growth));
    top_ = begin_;
  }

  explicit operator bool() const { return begin_ != nullptr; }
  bool owns(const void* p) const { return p >= begin_ && p < top_; }

  /// Null where there is no memory.
  void* take(size_t size) {
    size = roundedUp(size, alignment);
    const std::lock_guard lock(mutex_);
    auto best = free_.lower_bound({size, nullptr});
    if (best == free_.end()) {
      if (!grow(size)) return nullptr;
      best = free_.lower_bound({size, nullptr});
    }
    const auto [found, at] = *best;
    free_.erase(best);
    blocks_[at] = {size, false};
    if (found > size) addFree(at + size, found - size);
    return at;
  }

  void give(void* p) {
    const std::lock_guard lock(mutex_);
    const auto block = blocks_.find(static_cast<std::byte*>(p));
    std::byte* at = block->first;
    size_t size = block->second.size;
    const auto absorb = [&](std::map<std::byte*, Block>::iterator other) {
      free_.erase({other->second.size, other->first});
      size += other->second.size;
      blocks_.erase(other);
    };
    if (const auto next = std::next(block); next != blocks_.end() && next->second.free) absorb(next);
    if (block != blocks_.begin()) {
      if (const auto before = std::prev(block); before->second.free) {
        at = before->first;
        absorb(before);
      }
    }
    blocks_.erase(block);
    addFree(at, size);
  }

  void trim() {
    const std::lock_guard lock(mutex_);
    const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
    for (const auto& [size, at] : free_) {
      const uintptr_t first = roundedUp(reinterpret_cast<uintptr_t>(at), page);
      const uintptr_t last = (reinterpret_cast<uintptr_t>(at) + size) / page * page;
      if (first < last) madvise(reinterpret_cast<void*>(first), last - first, MADV_DONTNEED);
    }
  }

 private:
  struct Block {
    size_t size;
    bool free;
  };

  void addFree(std::byte* at, size_t size) {
    blocks_[at] = {size, true};
    free_.insert({size, at});
  }

  /// So that the last block is free and of at least `size`; false where the system refuses. Throws where there is not
  /// as much memory.
  bool grow(size_t size) {
    std::byte *const top = top_, *at = top;
    if (!blocks_.empty() && blocks_.rbegin()->second.free) at = blocks_.rbegin()->first;
    const size_t more = roundedUp(size - static_cast<size_t>(top - at), growth);
    checkAvailable(more);
    const int how = MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE;
    void* const found = mmap(top, more, PROT_READ | PROT_WRITE, how, -1, 0);
    if (found == MAP_FAILED) return false;
    if (found != top) {  // an older kernel, which takes the address for a wish
      munmap(found, more);
      return false;
    }
    madvise(top, more, MADV_HUGEPAGE);  // fewer faults; where there are none, small pages serve
    free_.erase({static_cast<size_t>(top - at), at});
    top_ = top + more;
    addFree(at, static_cast<size_t>(top_ - at));
    return true;
  }

  std::mutex mutex_;
  std::byte* begin_ = nullptr;
  std::atomic<std::byte*> top_ = nullptr;  // read without the lock
  std::map<std::byte*, Block> blocks_;
  std::set<std::pair<size_t, std::byte*>> free_;  // best fit: the smallest that is large enough, the lowest of those
};

/// Never destroyed: tensors of static lifetime are given back after everything else.
Region& region() {
  static Region& only = *std::make_unique<Region>().release();
  return only;
}

class TensorAllocator final : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t size) override {
    void* at = size < smallest ? nullptr : region().take(size);
    if (at == nullptr) at = c10::GetDefaultCPUAllocator()->raw_allocate(size);
    return {at, at, &release, at::Device(at::kCPU)};
  }
  c10::DeleterFnPtr raw_deleter() const override { return &release; }
  void copy_data(void* to, const void* from, size_t size) const override { default_copy_data(to, from, size); }

 private:
  static void release(void* p) {
    if (region().owns(p)) return region().give(p);
    c10::GetDefaultCPUAllocator()->raw_deallocate(p);
  }
};

}  // namespace

void useTensorMemory() {
#ifndef __SANITIZE_ADDRESS__  // which watches over malloc's blocks
  static const bool once = [] {
    if (!region()) return false;
    c10::SetCPUAllocator(std::make_unique<TensorAllocator>().release(), /*priority=*/1);
    return true;
  }();
  static_cast<void>(once);
#endif
}

void trimTensorMemory() {
  if (region()) region().trim();
}

}  // namespace continual
