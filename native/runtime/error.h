#pragma once

#include <stdexcept>
#include <string>

namespace continual {

/// An error with the stable code that JavaScript sees (lib/errors.ts lists them).
class Error : public std::runtime_error {
 public:
  Error(std::string code, const std::string& message) : std::runtime_error(message), code_(std::move(code)) {}
  const std::string& code() const { return code_; }

 private:
  std::string code_;
};

}  // namespace continual
