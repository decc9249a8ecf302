#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "runtime/cancellation.h"

namespace continual {

struct MpiFunctions;

/// e.g. "MPICH Version: 5.0.2", of a library with the standard ABI. Throws ERR_GROUP.
std::string mpiVersion(const std::string& library);

/// The processes that an MPI launcher started (mpirun, srun), by any MPI library that has MPI 5's standard ABI
/// (MPI: A Message-Passing Interface Standard, Version 5.0, chapter 20). A process joins once, and all calls come from
/// the thread that joined.
class Mpi {
 public:
  /// Loads the library and waits for the other processes. Throws ERR_GROUP.
  explicit Mpi(const std::string& library);
  ~Mpi();
  Mpi(const Mpi&) = delete;
  Mpi& operator=(const Mpi&) = delete;

  int64_t rank() const { return rank_; }
  int64_t size() const { return size_; }
  /// e.g. "MPICH Version: 5.0.2"
  const std::string& version() const { return version_; }

  /// See Group::sum; for tensors on the CPU of uint8, int32, float32, float64 or bfloat16.
  void sum(const at::Tensor& flat, const Cancellation& cancellation);
  /// Leaves the group, and waits until all have left; ends the other processes where they don't within `seconds` (0: no
  /// limit). `why`: what is told to those that wait for a sum, after this one's rank; e.g. "has ended".
  void leave(double seconds, const std::string& why);
  /// Another process is lost, of which MPI does not tell: a sum that waits for it throws ERR_GROUP with what is said.
  /// From any thread.
  void lose(const std::string& said);

 private:
  using Handle = void*;
  void check(int code, const char* what) const;
  /// Whether the request was done before `stop()` said true.
  template <class Stop>
  bool wait(Handle& request, Stop stop);
  /// What another process said as it left; empty where none did.
  std::string note();
  /// What `lose` was told.
  std::string loss() const;
  Handle typeOf(at::ScalarType type) const;

  std::unique_ptr<MpiFunctions> mpi_;
  int64_t rank_ = 0, size_ = 1;
  std::string version_;
  Handle side_ = nullptr;         // the communicator of those that leave
  Handle addBf16_ = nullptr;      // an MPI operation
  std::vector<at::Tensor> lost_;  // of sums that were given up, and that the library may still write to
  std::string said_;              // by a process that left
  bool left_ = false;
  mutable std::mutex lossMutex_;
  std::string loss_;
};

}  // namespace continual
