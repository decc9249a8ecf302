#include "runtime/graphed.h"

#include "runtime/cancellation.h"

#ifdef CONTINUAL_DIFFUSION_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace continual {

#ifdef CONTINUAL_DIFFUSION_CUDA

namespace {

constexpr int64_t warmUp = 2;  // libraries choose and allocate in the first calls, which can't be recorded

}  // namespace

struct Graphed::Recorded {
  at::cuda::CUDAGraph graph;
  Tensors inputs;  // read by the graph
  at::Tensor output;

  Recorded(at::Device device, const Tensors& given, const Function& function) {
    for (const at::Tensor& t : given) inputs.push_back(t.defined() ? t.clone() : t);
    // A graph has memory of its own, and can't use what earlier calls left in the allocator's cache.
    c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    // The default stream can't be recorded.
    const c10::cuda::CUDAStreamGuard stream(c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()));
    // Other threads of the process may allocate meanwhile.
    graph.capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);
    try {
      output = function(inputs);
    } catch (...) {
      try {
        graph.capture_end();
      } catch (const std::exception&) {  // the first failure is the one to tell
      }
      throw;
    }
    graph.capture_end();
  }

  at::Tensor replay(const Tensors& given) {
    for (size_t i = 0; i < inputs.size(); ++i) {
      if (inputs[i].defined()) inputs[i].copy_(given[i], /*non_blocking=*/true);
    }
    graph.replay();
    return output.clone();
  }
};

at::Tensor Graphed::operator()(const Tensors& inputs, const Function& function) {
  if (!device_.is_cuda() || !failure_.empty()) return function(inputs);
  std::vector<std::vector<int64_t>> shapes;
  for (const at::Tensor& t : inputs) shapes.push_back(t.defined() ? t.sizes().vec() : std::vector<int64_t>{-1});
  if (shapes != shapes_) {
    reset();
    shapes_ = std::move(shapes);
  }
  if (!recorded_) {
    if (calls_++ < warmUp) return function(inputs);
    try {
      recorded_ = std::make_unique<Recorded>(device_, inputs, function);
    } catch (const Cancelled&) {
      throw;
    } catch (const std::exception& error) {
      failure_ = error.what();
      return function(inputs);
    }
  }
  return recorded_->replay(inputs);
}

#else

struct Graphed::Recorded {};

at::Tensor Graphed::operator()(const Tensors& inputs, const Function& function) { return function(inputs); }

#endif

Graphed::Graphed(at::Device device) : device_(device) {}
Graphed::~Graphed() = default;

void Graphed::reset() {
  recorded_.reset();
  shapes_.clear();
  calls_ = 0;
}

}  // namespace continual
