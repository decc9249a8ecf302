#include "distributed/rendezvous.h"

#include <chrono>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>
#include <vector>

#include "runtime/error.h"
#include "runtime/failure.h"

namespace continual {

struct Rendezvous::Store {
  c10::intrusive_ptr<c10d::TCPStore> tcp;
};

namespace {

/// torchrun serves a store at the same address, which holds keys of its own.
std::string keyOf(int64_t number) { return "continual-diffusion/" + std::to_string(number); }

bool isServedAlready() {
  const char* uses = std::getenv("TORCHELASTIC_USE_AGENT_STORE");
  return uses != nullptr && std::string(uses) == "True";
}

}  // namespace

Rendezvous::Rendezvous(const std::string& host, int64_t port, int64_t rank, int64_t size, int64_t seconds)
    : store_(std::make_unique<Store>()), rank_(rank) {
  c10d::TCPStoreOptions options;
  options.port = static_cast<uint16_t>(port);
  options.isServer = rank == 0 && !isServedAlready();
  options.numWorkers = static_cast<size_t>(size);
  options.waitWorkers = false;
  options.timeout = std::chrono::seconds(seconds);
  try {
    store_->tcp = c10::make_intrusive<c10d::TCPStore>(host, options);
    share("");  // all are there
  } catch (const std::exception& error) {
    throw Error("ERR_GROUP", "rank " + std::to_string(rank) + " can't meet the others at " + host + ":" +
                                 std::to_string(port) + ": " + messageOf(error));
  }
}

Rendezvous::~Rendezvous() = default;

std::string Rendezvous::share(const std::string& own) {
  const std::string name = keyOf(shared_++);
  if (rank_ == 0) store_->tcp->set(name, std::vector<uint8_t>(own.begin(), own.end()));
  const std::vector<uint8_t> all = store_->tcp->get(name);
  return {all.begin(), all.end()};
}

}  // namespace continual
