#pragma once

#include <atomic>
#include <cstdint>

namespace continual {

/// Thrown where a cancelled computation stops in the middle of a step; whoever owns the state catches it.
struct Cancelled {};

/// Whether to stop: the caller asked (a JavaScript Int32Array's first element), or the environment is going away.
class Cancellation {
 public:
  Cancellation(const int32_t* requested, const std::atomic<bool>* closing) : requested_(requested), closing_(closing) {}

  bool requested() const {
    return (requested_ != nullptr && __atomic_load_n(requested_, __ATOMIC_RELAXED) != 0) || closing();
  }
  bool closing() const { return closing_ != nullptr && closing_->load(std::memory_order_relaxed); }
  void check() const {
    if (requested()) throw Cancelled{};
  }

 private:
  const int32_t* requested_;
  const std::atomic<bool>* closing_;
};

}  // namespace continual
