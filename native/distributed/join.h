#pragma once

#include <functional>
#include <string>

#include "distributed/group.h"

namespace continual {

/// A group that this process has joined.
struct JoinedGroup {
  Group group;
  std::string transport;  // e.g. "MPICH Version: 5.0.2"
  /// See Mpi::leave.
  std::function<void(double seconds, const std::string& why)> leave;
  /// See Mpi::lose.
  std::function<void(const std::string& said)> lose;
};

/// Joins the processes that an MPI launcher started: MPI sums on the CPU, and NCCL on GPUs. `library`: see Mpi.
JoinedGroup joinByMpi(const std::string& library);

/// A process that knows how many there are and where they meet.
struct Member {
  std::string host;
  int64_t port, rank, size;
  int64_t device;  // of CUDA, on this machine
};
/// Joins processes that meet at an address: NCCL sums on their GPUs, also what is on the CPU.
JoinedGroup joinByAddress(const Member& member);

}  // namespace continual
