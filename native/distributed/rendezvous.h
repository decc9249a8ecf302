#pragma once

#include <cstdint>
#include <memory>
#include <string>

namespace continual {

/// Where processes meet that know only an address: libtorch's TCPStore, which the first of them serves there. torchrun
/// and Kubernetes operators name it by MASTER_ADDR and MASTER_PORT.
class Rendezvous {
 public:
  /// Waits for the others, at most so many seconds. Throws ERR_GROUP.
  Rendezvous(const std::string& host, int64_t port, int64_t rank, int64_t size, int64_t seconds);
  ~Rendezvous();
  Rendezvous(const Rendezvous&) = delete;
  Rendezvous& operator=(const Rendezvous&) = delete;

  /// Gives all processes what the first one has.
  std::string share(const std::string& own);

 private:
  struct Store;
  std::unique_ptr<Store> store_;
  int64_t rank_, shared_ = 0;
};

}  // namespace continual
