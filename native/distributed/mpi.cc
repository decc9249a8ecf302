#include "distributed/mpi.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "runtime/error.h"

namespace continual {

namespace {

using Clock = std::chrono::steady_clock;
using Handle = void*;

double secondsSince(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

// Constants of the standard ABI.
Handle handle(uintptr_t value) { return reinterpret_cast<Handle>(value); }
const Handle sumOfNumbers = handle(0x21), world = handle(0x101), errorsReturn = handle(0x143);
const Handle typeFloat = handle(0x210), typeDouble = handle(0x214), typeUint8 = handle(0x241);
const Handle typeUint16 = handle(0x249), typeInt32 = handle(0x250), typeByte = handle(0x247);
void* const inPlace = reinterpret_cast<void*>(1);
constexpr int threadSerialized = 2048, anySource = -1, anyTag = -2;
constexpr size_t longestError = 512, longestVersion = 8192;

/// A process that is cancelled waits so many seconds for the others, with which it can stop in order.
constexpr double graceSeconds = 8;
/// Seconds that the others have to leave, once one of them is lost, before they are ended.
constexpr double lostSeconds = 5;
/// Seconds that a sum has to be done in, once one of the processes has left.
constexpr double lastWords = 2;

constexpr size_t noteBytes = 1024;

/// MPI has no type for bfloat16: an operation of our own on its bits.
void addBf16(void* in, void* inOut, int* length, Handle*) {
  const auto* a = static_cast<const c10::BFloat16*>(in);
  auto* b = static_cast<c10::BFloat16*>(inOut);
  for (int i = 0; i < *length; ++i) b[i] = b[i] + a[i];
}

}  // namespace

struct MpiFunctions {
  void* library = nullptr;
  int (*initThread)(int*, char***, int, int*);
  int (*initialized)(int*);
  int (*finalize)();
  int (*abort)(Handle, int);
  int (*commRank)(Handle, int*);
  int (*commSize)(Handle, int*);
  int (*commDup)(Handle, Handle*);
  int (*commSetErrhandler)(Handle, Handle);
  int (*errorString)(int, char*, int*);
  int (*getLibraryVersion)(char*, int*);
  int (*opCreate)(void (*)(void*, void*, int*, Handle*), int, Handle*);
  int (*allReduce)(const void*, void*, int64_t, Handle, Handle, Handle, Handle*);
  int (*test)(Handle*, int*, void*);
  int (*send)(const void*, int, Handle, int, int, Handle, Handle*);
  int (*probe)(int, int, Handle, int*, void*);
  int (*receive)(void*, int, Handle, int, int, Handle, void*);

  explicit MpiFunctions(const std::string& path) {
    library = dlopen(path.c_str(), RTLD_NOW | RTLD_GLOBAL);
    if (library == nullptr) throw Error("ERR_GROUP", "MPI can't be loaded: " + std::string(dlerror()));
    const auto find = [&](auto& function, const char* name) {
      void* found = dlsym(library, name);
      if (found == nullptr) {
        throw Error("ERR_GROUP",
                    path + " has no " + name +
                        ", so it is not a library of MPI 5's standard ABI; expected libmpi_abi.so, e.g. of "
                        "MPICH 5 (pip install mpich)");
      }
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(found);
    };
    void (*abiVersion)() = nullptr;
    find(abiVersion, "MPI_Abi_get_version");  // no library without the ABI has it
    find(initThread, "MPI_Init_thread");
    find(initialized, "MPI_Initialized");
    find(finalize, "MPI_Finalize");
    find(abort, "MPI_Abort");
    find(commRank, "MPI_Comm_rank");
    find(commSize, "MPI_Comm_size");
    find(commDup, "MPI_Comm_dup");
    find(commSetErrhandler, "MPI_Comm_set_errhandler");
    find(errorString, "MPI_Error_string");
    find(getLibraryVersion, "MPI_Get_library_version");
    find(opCreate, "MPI_Op_create");
    find(allReduce, "MPI_Iallreduce_c");
    find(test, "MPI_Test");
    find(send, "MPI_Isend");
    find(probe, "MPI_Iprobe");
    find(receive, "MPI_Recv");
  }
};

namespace {

/// Ends the other processes with this one: Node prints an uncaught error after the environment has ended.
void abortAtExit(int (*abort)(Handle, int)) {
  static int (*const end)(Handle, int) = abort;
  std::atexit([] {
    std::this_thread::sleep_for(std::chrono::milliseconds(500));  // until the launcher has read what was printed
    end(world, 1);
  });
}

std::string versionOf(const MpiFunctions& mpi) {
  std::array<char, longestVersion> text{};
  int length = 0;
  mpi.getLibraryVersion(text.data(), &length);
  const std::string version = text.data();
  return version.substr(0, version.find('\n'));
}

}  // namespace

std::string mpiVersion(const std::string& library) { return versionOf(MpiFunctions(library)); }

Mpi::Mpi(const std::string& library) : mpi_(std::make_unique<MpiFunctions>(library)) {
  int isThere = 0;
  check(mpi_->initialized(&isThere), "MPI_Initialized");
  if (isThere != 0) throw Error("ERR_GROUP", "this process is in a group already; pass that one on");
  int provided = 0;
  check(mpi_->initThread(nullptr, nullptr, threadSerialized, &provided), "MPI_Init_thread");
  check(mpi_->commSetErrhandler(world, errorsReturn), "MPI_Comm_set_errhandler");
  int rank = 0, size = 1;
  check(mpi_->commRank(world, &rank), "MPI_Comm_rank");
  check(mpi_->commSize(world, &size), "MPI_Comm_size");
  rank_ = rank;
  size_ = size;
  check(mpi_->commDup(world, &side_), "MPI_Comm_dup");
  check(mpi_->opCreate(addBf16, 1, &addBf16_), "MPI_Op_create");
  version_ = versionOf(*mpi_);
}

Mpi::~Mpi() = default;  // the library stays: it may have threads

void Mpi::check(int code, const char* what) const {
  if (code == 0) return;
  std::array<char, longestError> text{};
  int length = 0;
  mpi_->errorString(code, text.data(), &length);
  throw Error("ERR_GROUP", std::string(what) + " failed: " + text.data() +
                               ". Another process may have ended; what the launcher says tells which.");
}

template <class Stop>
bool Mpi::wait(Handle& request, Stop stop) {
  const auto start = Clock::now();
  auto looked = start;
  for (;;) {
    int done = 0;
    check(mpi_->test(&request, &done, nullptr), "MPI_Test");
    if (done != 0) return true;
    const auto now = Clock::now();
    // A step's sum mostly comes soon; whoever waits longer must not take a processor from those who compute.
    if (now - start < std::chrono::milliseconds(5)) {
      std::this_thread::yield();
    } else {
      std::this_thread::sleep_for(std::chrono::microseconds(50));
    }
    if (now - looked < std::chrono::milliseconds(20)) continue;
    looked = now;
    if (stop()) return false;
  }
}

std::string Mpi::note() {
  int isThere = 0;
  check(mpi_->probe(anySource, anyTag, side_, &isThere, nullptr), "MPI_Iprobe");
  if (isThere == 0) return {};
  std::array<char, noteBytes> text{};
  check(mpi_->receive(text.data(), noteBytes, typeByte, anySource, anyTag, side_, nullptr), "MPI_Recv");
  text.back() = 0;
  return text.data();
}

void Mpi::lose(const std::string& said) {
  const std::lock_guard<std::mutex> lock(lossMutex_);
  if (loss_.empty()) loss_ = said;
}

std::string Mpi::loss() const {
  const std::lock_guard<std::mutex> lock(lossMutex_);
  return loss_;
}

Handle Mpi::typeOf(at::ScalarType type) const {
  switch (type) {
    case at::kFloat:
      return typeFloat;
    case at::kDouble:
      return typeDouble;
    case at::kByte:
      return typeUint8;
    case at::kInt:
      return typeInt32;
    case at::kBFloat16:
      return typeUint16;
    default:
      throw Error("ERR_ENGINE", "a group can't sum numbers of this type");
  }
}

void Mpi::sum(const at::Tensor& flat, const Cancellation& cancellation) {
  if (size_ == 1) return;
  if (!lost_.empty() || left_) throw Error("ERR_GROUP", "this process has left the group: start all processes anew");
  if (!flat.is_cpu() || !flat.is_contiguous()) {
    throw Error("ERR_ENGINE", "MPI sums contiguous tensors on the CPU");
  }
  Handle request = nullptr;
  const Handle operation = flat.scalar_type() == at::kBFloat16 ? addBf16_ : sumOfNumbers;
  check(mpi_->allReduce(inPlace, flat.mutable_data_ptr(), flat.numel(), typeOf(flat.scalar_type()), operation, world,
                        &request),
        "MPI_Iallreduce");
  Clock::time_point heard{}, cancelled{};
  const auto isOver = [](Clock::time_point& since, double seconds) {
    if (since == Clock::time_point{}) since = Clock::now();
    return secondsSince(since) > seconds;
  };
  const bool done = wait(request, [&] {
    if (said_.empty()) said_ = note();
    if (said_.empty()) said_ = loss();
    // What it gave to this sum before may still be on its way.
    if (!said_.empty() && isOver(heard, lastWords)) return true;
    return cancellation.closing() || (cancellation.requested() && isOver(cancelled, graceSeconds));
  });
  if (done) return;
  lost_.push_back(flat);
  if (!said_.empty()) throw Error("ERR_GROUP", said_);
  throw Cancelled{};
}

void Mpi::leave(double seconds, const std::string& why) {
  if (std::exchange(left_, true)) return;
  std::array<char, noteBytes> text{};
  std::vector<Handle> sent;
  if (!why.empty() && size_ > 1) {
    const std::string said = "rank " + std::to_string(rank_) + " " + why;
    std::memcpy(text.data(), said.data(), std::min(said.size(), noteBytes - 1));
    for (int64_t to = 0; to < size_; ++to) {
      if (to == rank_) continue;
      Handle& request = sent.emplace_back(nullptr);
      mpi_->send(text.data(), noteBytes, typeByte, static_cast<int>(to), 0, side_, &request);
    }
  }
  bool all = true;
  const auto start = Clock::now();
  const auto isLate = [&] {
    const double most = loss().empty() ? seconds : lostSeconds;
    return most > 0 && secondsSince(start) > most;
  };
  try {
    Handle request = nullptr;
    uint8_t here = 1;
    check(mpi_->allReduce(inPlace, &here, 1, typeUint8, sumOfNumbers, side_, &request), "MPI_Iallreduce");
    all = wait(request, [&] {
      note();  // or those who send one can't leave
      return isLate();
    });
    for (Handle& one : sent) all = all && wait(one, isLate);
  } catch (const Error&) {
    all = false;
  }
  // Where a sum was given up, the library would wait for it as it is finalized, and the others for this process.
  if (all && lost_.empty()) {
    mpi_->finalize();
  } else {
    abortAtExit(mpi_->abort);
  }
}

}  // namespace continual
