#pragma once

#include <cstddef>

namespace continual {

/// Bytes that can still be used: of the machine, and of each control group, of version 1 or 2, that this process is in.
size_t availableMemory();

}  // namespace continual
