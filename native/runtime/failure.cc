#include "runtime/failure.h"

#include <c10/util/Exception.h>

#include <initializer_list>
#include <new>
#include <system_error>

#include "runtime/cancellation.h"
#include "runtime/error.h"

namespace continual {

namespace {

/// Where the first of the parts that is there begins.
size_t first(const std::string& text, std::initializer_list<const char*> parts) {
  for (const char* part : parts) {
    const size_t at = text.find(part);
    if (at != std::string::npos) return at;
  }
  return std::string::npos;
}

bool says(const std::string& text, std::initializer_list<const char*> parts) {
  return first(text, parts) != std::string::npos;
}

/// The line that begins there: what follows tells developers of libtorch how to find the place.
std::string lineAt(const std::string& text, size_t begin) { return text.substr(begin, text.find('\n', begin) - begin); }

Failure outOfDeviceMemory(const std::string& line) {
  const std::string gpu = "GPU ";  // "… GPU 0 has a total capacity of …"
  const size_t at = line.find(gpu);
  const bool named = at != std::string::npos && at + gpu.size() < line.size() && line[at + gpu.size()] >= '0' &&
                     line[at + gpu.size()] <= '9';
  const std::string device =
      named ? "cuda:" + line.substr(at + gpu.size(), line.find(' ', at + gpu.size()) - at - gpu.size())
            : "the CUDA device";
  return {"ERR_OUT_OF_MEMORY", device + " is out of memory: " + line +
                                   "\nUse a smaller batch or model, dispose of what is no longer used, or end other "
                                   "processes that use the device (nvidia-smi lists them)."};
}

std::optional<Failure> deviceFailure(const std::string& line) {
  const auto unavailable = [&](const char* advice) { return Failure{"ERR_DEVICE_UNAVAILABLE", line + "\n" + advice}; };
  if (says(line, {"driver version is insufficient", "unsupported display driver", "unsupported toolchain"})) {
    return unavailable(
        "The driver is too old for the CUDA that libtorch was built for: install a newer driver, or build against a "
        "libtorch for an older CUDA.");
  }
  if (says(line, {"no kernel image", "invalid device function", "ARCH_MISMATCH"})) {
    return unavailable(
        "This libtorch was not built for GPUs of this generation: build against one that was, or use device 'cpu'.");
  }
  if (says(line, {"busy or unavailable", "no CUDA-capable device", "invalid device ordinal"})) {
    return unavailable(
        "Another process may hold the GPU for itself alone: nvidia-smi shows its processes and its compute mode.");
  }
  if (says(line, {"_STATUS_NOT_INITIALIZED"})) {
    return unavailable(
        "NVIDIA's library could not start on the GPU, most often for lack of memory: end other processes that use the "
        "device (nvidia-smi lists them), or use a smaller batch or model.");
  }
  // A call that CUDA refuses is our mistake, and leaves the device as it was.
  if (says(line, {"captur", "invalid", "not supported", "NOT_SUPPORTED", "BAD_PARAM", "INVALID_VALUE"})) return {};
  return Failure{"ERR_DEVICE_FAILED", line +
                                          "\nWhat was on the GPU can't be relied on, and CUDA may refuse all further "
                                          "work in this process: start a new one, from what was saved last. Where this "
                                          "comes again, see what the driver logged (dmesg, nvidia-smi -q)."};
}

}  // namespace

std::string messageOf(const std::exception& error) {
  const auto* own = dynamic_cast<const c10::Error*>(&error);
  return own != nullptr ? own->what_without_backtrace() : error.what();
}

std::optional<Failure> machineFailure(const std::exception& error) {
  const std::string said = messageOf(error);
  // By their text rather than their types: cuBLAS and cuDNN have none of their own, and TorchScript drops them.
  size_t at = first(said, {"CUDA out of memory", "CUDA error: out of memory", "CUBLAS_STATUS_ALLOC_FAILED",
                           "CUDNN_STATUS_ALLOC_FAILED"});
  if (at != std::string::npos) return outOfDeviceMemory(lineAt(said, at));
  at = first(said, {"CUDA error: ", "CUDA driver error: ", "cuDNN error: ", "CUDNN_STATUS_", "CUBLAS_STATUS_"});
  if (at != std::string::npos) return deviceFailure(lineAt(said, at));
  if (dynamic_cast<const c10::OutOfMemoryError*>(&error) != nullptr || says(said, {"can't allocate memory"})) {
    return Failure{"ERR_OUT_OF_MEMORY", said + "\nUse a smaller batch or model."};
  }
  return std::nullopt;
}

Failure currentFailure() {
  try {
    throw;
  } catch (const Error& error) {
    return {error.code(), error.what()};
  } catch (const std::bad_alloc&) {
    return {"ERR_OUT_OF_MEMORY", "the host is out of memory. Use a smaller batch or model."};
  } catch (const std::system_error& error) {
    if (error.code() != std::errc::resource_unavailable_try_again) return {"ERR_ENGINE", messageOf(error)};
    return {"ERR_OUT_OF_RESOURCES",
            "the system gives this process no more threads. Raise its limit (ulimit -u), or end other processes."};
  } catch (const Cancelled&) {
    return {"ERR_CANCELLED", "the call was cancelled"};
  } catch (const std::exception& error) {
    return machineFailure(error).value_or(Failure{"ERR_ENGINE", messageOf(error)});
  } catch (...) {
    return {"ERR_ENGINE", "an exception of unknown type"};
  }
}

}  // namespace continual
