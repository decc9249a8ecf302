#pragma once

#include <ATen/ATen.h>
#include <c10/core/Event.h>
#include <c10/core/Stream.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>

#include <optional>

namespace continual {

/// On CUDA a second stream, for work that the current one need not wait for: kernels that don't fill the GPU run at the
/// same time. Of a graph that is being recorded, a branch. Elsewhere work is done at once.
class Beside {
 public:
  explicit Beside(at::Device device) : device_(device) {}

  /// Runs `work` on the second stream, after all that the current one was given so far. What it reads must live until
  /// `join`, before which nothing may use what it gives.
  template <class Work>
  void run(const Work& work) {
    if (!device_.is_cuda()) return work();
    const c10::impl::VirtualGuardImpl gpu(device_.type());
    // One for all times, as libraries keep memory for each.
    if (!stream_) stream_ = gpu.getStreamFromGlobalPool(device_);
    after(gpu.getStream(device_), *stream_);
    running_ = true;
    const c10::StreamGuard guard(*stream_);
    work();
  }

  /// What the current stream is given from now on comes after `run`'s work.
  void join() {
    if (!running_) return;
    after(*stream_, c10::impl::VirtualGuardImpl(device_.type()).getStream(device_));
    running_ = false;
  }

 private:
  void after(const c10::Stream& first, const c10::Stream& then) const {
    c10::Event event(device_.type());
    event.record(first);
    event.block(then);
  }

  at::Device device_;
  std::optional<c10::Stream> stream_;
  bool running_ = false;
};

}  // namespace continual
