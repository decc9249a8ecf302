#include "distributed/join.h"

#include <memory>

#include "distributed/mpi.h"
#include "distributed/nccl.h"
#include "distributed/rendezvous.h"

namespace continual {

namespace {

constexpr int64_t secondsToMeet = 300;

}  // namespace

JoinedGroup joinByMpi(const std::string& library) {
  const auto mpi = std::make_shared<Mpi>(library);
  const auto share = [mpi](const std::string& own) {
    const at::Tensor bytes = at::zeros({static_cast<int64_t>(own.size())}, at::kByte);
    if (mpi->rank() == 0) std::copy(own.begin(), own.end(), bytes.mutable_data_ptr<uint8_t>());
    mpi->sum(bytes, Cancellation(nullptr, nullptr));
    const uint8_t* all = bytes.const_data_ptr<uint8_t>();
    return std::string(all, all + own.size());
  };
  const auto nccl = std::make_shared<Nccl>(mpi->rank(), mpi->size(), share);
  const auto sum = [mpi, nccl](const at::Tensor& flat, const Cancellation& cancellation) {
    if (flat.is_cuda()) {
      nccl->sum(flat);
    } else {
      mpi->sum(flat, cancellation);
    }
  };
  return {{mpi->rank(), mpi->size(), sum},
          mpi->version(),
          [mpi](double seconds, const std::string& why) { mpi->leave(seconds, why); },
          [mpi](const std::string& said) { mpi->lose(said); }};
}

JoinedGroup joinByAddress(const Member& member) {
  const auto meeting = std::make_shared<Rendezvous>(member.host, member.port, member.rank, member.size, secondsToMeet);
  const auto share = [meeting](const std::string& own) { return meeting->share(own); };
  const auto nccl = std::make_shared<Nccl>(member.rank, member.size, share);
  const at::Device device(at::kCUDA, static_cast<c10::DeviceIndex>(member.device));
  const auto sum = [nccl, device](const at::Tensor& flat, const Cancellation&) {
    if (flat.is_cuda()) return nccl->sum(flat);
    const at::Tensor there = flat.to(device);
    nccl->sum(there);
    flat.copy_(there);
  };
  return {{member.rank, member.size, sum}, "NCCL", [](double, const std::string&) {}, [](const std::string&) {}};
}

}  // namespace continual
