#include "distributed/nccl.h"

#include <dlfcn.h>

#include <array>
#include <cstring>
#include <utility>

#include "runtime/error.h"

#ifdef CONTINUAL_DIFFUSION_CUDA
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#endif

namespace continual {

#ifdef CONTINUAL_DIFFUSION_CUDA
namespace {

// Numbers of NCCL's interface, the same in all versions of it.
constexpr int addUp = 0;

int typeOf(at::ScalarType type) {
  switch (type) {
    case at::kByte:
      return 1;
    case at::kInt:
      return 2;
    case at::kFloat:
      return 7;
    case at::kDouble:
      return 8;
    case at::kBFloat16:
      return 9;
    default:
      throw Error("ERR_ENGINE", "a group can't sum numbers of this type");
  }
}

}  // namespace
#endif

struct Nccl::Functions {
  /// What the processes of a communicator have in common, as NCCL hands it out.
  struct UniqueId {
    std::array<char, 128> bytes;
  };

  int (*getUniqueId)(UniqueId*);
  int (*initRank)(void**, int, UniqueId, int);
  int (*allReduce)(const void*, void*, size_t, int, int, void*, void*);
  int (*abort)(void*);
  const char* (*errorString)(int);
  int (*getVersion)(int*);

  Functions() {
    // torch_cuda has loaded it.
    void* library = dlopen("libnccl.so.2", RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) throw Error("ERR_GROUP", "NCCL can't be loaded: " + std::string(dlerror()));
    const auto find = [&](auto& function, const char* name) {
      void* found = dlsym(library, name);
      if (found == nullptr) throw Error("ERR_GROUP", "NCCL has no " + std::string(name));
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
    };
    find(getUniqueId, "ncclGetUniqueId");
    find(initRank, "ncclCommInitRank");
    find(allReduce, "ncclAllReduce");
    find(abort, "ncclCommAbort");
    find(errorString, "ncclGetErrorString");
    find(getVersion, "ncclGetVersion");
  }
};

std::string Nccl::version() {
  int number = 0;
  Functions().getVersion(&number);
  return std::to_string(number / 10000) + "." + std::to_string(number / 100 % 100) + "." + std::to_string(number % 100);
}

Nccl::Nccl(int64_t rank, int64_t size, Share share) : rank_(rank), size_(size), share_(std::move(share)) {}

Nccl::~Nccl() {
  if (communicator_ != nullptr) nccl_->abort(communicator_);  // which waits for nobody
}

void Nccl::check(int code, const char* what) const {
  if (code != 0) throw Error("ERR_GROUP", std::string(what) + " failed: " + nccl_->errorString(code));
}

void Nccl::join() {
  nccl_ = std::make_unique<Functions>();
  Functions::UniqueId id{};
  if (rank_ == 0) check(nccl_->getUniqueId(&id), "ncclGetUniqueId");
  const std::string all = share_(std::string(id.bytes.data(), id.bytes.size()));
  std::memcpy(id.bytes.data(), all.data(), std::min(all.size(), id.bytes.size()));
  check(nccl_->initRank(&communicator_, static_cast<int>(size_), id, static_cast<int>(rank_)),
        "ncclCommInitRank, where each process needs a GPU of its own,");
}

void Nccl::sum([[maybe_unused]] const at::Tensor& flat) {
#ifdef CONTINUAL_DIFFUSION_CUDA
  const c10::cuda::CUDAGuard guard(flat.device());
  if (communicator_ == nullptr) join();
  void* data = flat.mutable_data_ptr();
  check(nccl_->allReduce(data, data, static_cast<size_t>(flat.numel()), typeOf(flat.scalar_type()), addUp,
                         communicator_, c10::cuda::getCurrentCUDAStream().stream()),
        "ncclAllReduce");
#else
  throw Error("ERR_GROUP", "this build has no CUDA headers, and so can't sum over GPUs; see doctor");
#endif
}

}  // namespace continual
