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

std::string variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// torchrun serves a store at the same address, which holds keys of its own, and goes on when it starts the processes
/// anew.
std::string keyOf(const std::string& what) {
  return "continual-diffusion/" + variable("TORCHELASTIC_RUN_ID") + "/" + variable("TORCHELASTIC_RESTART_COUNT") + "/" +
         what;
}

bool isServedAlready() { return variable("TORCHELASTIC_USE_AGENT_STORE") == "True"; }

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
    store_->tcp->set(keyOf("here/" + std::to_string(rank)), std::vector<uint8_t>{});
    std::vector<std::string> all;
    for (int64_t other = 0; other < size; ++other) all.push_back(keyOf("here/" + std::to_string(other)));
    store_->tcp->wait(all);
  } catch (const std::exception& error) {
    throw Error("ERR_GROUP", "rank " + std::to_string(rank) + " can't meet the others at " + host + ":" +
                                 std::to_string(port) + ": " + messageOf(error));
  }
}

Rendezvous::~Rendezvous() = default;

std::string Rendezvous::share(const std::string& own) {
  const std::string name = keyOf(std::to_string(shared_++));
  if (rank_ == 0) store_->tcp->set(name, std::vector<uint8_t>(own.begin(), own.end()));
  const std::vector<uint8_t> all = store_->tcp->get(name);
  return {all.begin(), all.end()};
}

}  // namespace continual
