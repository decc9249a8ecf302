// For each pair of arguments throws an exception of that type with that text, and prints the code and the message that
// JavaScript would be told, each ended by a zero byte.
#include <c10/util/Exception.h>

#include <iostream>
#include <new>
#include <stdexcept>

#include "runtime/error.h"
#include "runtime/failure.h"

namespace {

void fail(const std::string& type, const std::string& text) {
  const c10::SourceLocation here{__func__, __FILE__, __LINE__};
  if (type == "OutOfMemoryError") throw c10::OutOfMemoryError(here, text);
  if (type == "AcceleratorError") throw c10::AcceleratorError(here, 999, text);
  if (type == "c10::Error") throw c10::Error(here, text);
  if (type == "std::bad_alloc") throw std::bad_alloc();
  if (type == "Error") throw continual::Error("ERR_BAD_DATA", text);
  throw std::runtime_error(text);
}

}  // namespace

int main(int count, char** arguments) {
  for (int i = 1; i + 1 < count; i += 2) {
    try {
      fail(arguments[i], arguments[i + 1]);
    } catch (...) {
      const auto [code, message] = continual::currentFailure();
      std::cout << code << '\0' << message << '\0';
    }
  }
}
