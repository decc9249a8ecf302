#include "runtime/graphed.h"

#include "runtime/cancellation.h"

#ifdef CONTINUAL_DIFFUSION_CUDA
#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDACachingAllocator.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <map>
#endif

namespace continual {

#ifdef CONTINUAL_DIFFUSION_CUDA

namespace {

constexpr int64_t warmUp = 2;  // libraries choose and allocate in the first calls, which can't be recorded

/// The default stream can't be recorded. One of each thread for all its recordings, as libraries keep memory for each.
c10::Stream recordingStream(at::Device device) {
  thread_local std::map<c10::DeviceIndex, c10::Stream> streams;
  const auto found = streams.find(device.index());
  if (found != streams.end()) return found->second;
  return streams
      .emplace(device.index(), c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index()).unwrap())
      .first->second;
}

template <class Work>
void quietly(Work work) {
  try {
    work();
  } catch (const std::exception&) {
  }
}

}  // namespace

struct Graphed::Recorded {
  at::cuda::CUDAGraph graph;
  Tensors inputs;  // read by the graph
  at::Tensor output;

  Recorded(at::Device device, c10::Stream onto, const Tensors& given, const Function& function) {
    for (const at::Tensor& t : given) inputs.push_back(t.defined() ? t.clone() : t);
    // A graph has memory of its own, and can't use what earlier calls left in the allocator's cache.
    c10::cuda::getCurrentCUDAStream(device.index()).synchronize();
    c10::cuda::CUDACachingAllocator::emptyCache();
    const c10::cuda::CUDAStreamGuard stream(onto);
    const at::cuda::MempoolId_t pool = at::cuda::graph_pool_handle();
    // Other threads of the process may allocate meanwhile.
    graph.capture_begin(pool, cudaStreamCaptureModeThreadLocal);
    try {
      output = function(inputs);
      graph.capture_end();
    } catch (...) {
      // The first failure is the one to tell. Either may have been done by now, and says so.
      quietly([&] { graph.capture_end(); });
      quietly([&] { c10::cuda::CUDACachingAllocator::endAllocateToPool(device.index(), pool); });
      throw;
    }
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
  // With their types: copied into a tensor of another type, numbers would change.
  std::vector<std::vector<int64_t>> shapes;
  for (const at::Tensor& t : inputs) {
    shapes.push_back(t.defined() ? t.sizes().vec() : std::vector<int64_t>{-1});
    if (t.defined()) shapes.back().push_back(static_cast<int64_t>(t.scalar_type()));
  }
  if (shapes != shapes_) {
    reset();
    shapes_ = std::move(shapes);
  }
  if (!recorded_) {
    if (calls_++ < warmUp) return function(inputs);
    try {
      recorded_ = std::make_unique<Recorded>(device_, recordingStream(device_), inputs, function);
    } catch (const Cancelled&) {
      throw;
    } catch (const c10::Error& error) {
      failure_ = error.what_without_backtrace();
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
  calls_ = 0;
  failure_.clear();
}

}  // namespace continual
