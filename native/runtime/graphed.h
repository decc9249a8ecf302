#pragma once

#include <ATen/ATen.h>
#include <c10/core/Stream.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace continual {

/// A function from tensors to a tensor, called again and again with the same shapes. On CUDA it is recorded as a graph
/// after two calls, and from then on launched as a whole: nothing of it waits for the host. Elsewhere, and where this
/// build has no headers of CUDA, it is just called.
///
/// What it reads besides its inputs, and what it writes, must stay where it lies: who replaces such a tensor calls
/// `reset`. Numbers of the host are frozen into the graph. It must not look at values on the device.
class Graphed {
 public:
  using Tensors = std::vector<at::Tensor>;  // undefined ones are passed on as such
  using Function = std::function<at::Tensor(const Tensors& inputs)>;

  explicit Graphed(at::Device device);
  ~Graphed();

  /// `function(inputs)`, in memory of its own. Inputs of other shapes than before are recorded anew.
  at::Tensor operator()(const Tensors& inputs, const Function& function);
  void reset();
  /// Why recording failed, after which functions are called as elsewhere until the next reset; else empty.
  const std::string& failure() const { return failure_; }

 private:
  struct Recorded;

  at::Device device_;
  int64_t calls_ = 0;  // since the last reset, or since shapes changed
  std::vector<std::vector<int64_t>> shapes_;
  std::unique_ptr<Recorded> recorded_;
  std::string failure_;
};

}  // namespace continual
