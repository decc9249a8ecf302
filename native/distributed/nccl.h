#pragma once

#include <ATen/ATen.h>

#include <functional>
#include <memory>
#include <string>

namespace continual {

/// Sums over the GPUs of a group, by NVIDIA's NCCL, which comes with libtorch's CUDA build. The sum is work on the
/// current stream like any other: it overlaps with what follows on the host, and a CUDA graph records it.
class Nccl {
 public:
  /// e.g. "2.27.7". Throws ERR_GROUP where there is none.
  static std::string version();

  /// Gives all processes what the first one has.
  using Share = std::function<std::string(const std::string& own)>;

  /// `share` is called at the first sum, of all processes.
  Nccl(int64_t rank, int64_t size, Share share);
  ~Nccl();
  Nccl(const Nccl&) = delete;
  Nccl& operator=(const Nccl&) = delete;

  /// See Group::sum; of a tensor on the process's one CUDA device. Throws ERR_GROUP.
  void sum(const at::Tensor& flat);

 private:
  struct Functions;
  void check(int code, const char* what) const;
  void join();

  int64_t rank_, size_;
  Share share_;
  std::unique_ptr<Functions> nccl_;
  void* communicator_ = nullptr;
};

}  // namespace continual
