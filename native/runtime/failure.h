#pragma once

#include <exception>
#include <optional>
#include <string>

namespace continual {

/// What went wrong, as JavaScript is told it.
struct Failure {
  std::string code, message;
};

/// What an exception says, without where in C++ it was thrown.
std::string messageOf(const std::exception& error);

/// Of the exception that is being handled; called inside a catch block.
Failure currentFailure();

/// Of an exception that tells of the machine and not of what was computed: no memory, a GPU or its driver that fails.
/// Also where TorchScript has wrapped it, which keeps its text only.
std::optional<Failure> machineFailure(const std::exception& error);

}  // namespace continual
