#pragma once

namespace continual {

/// From now on libtorch's large CPU tensors lie in a region of their own, and what one leaves free is there for the
/// next. malloc would have them in heaps of 64 MiB for each thread, which they fit badly, or ask the system for fresh
/// pages each time. Idempotent. Where that much address space can't be reserved, malloc goes on serving.
void useTensorMemory();

/// Gives the pages between tensors back to the system.
void trimTensorMemory();

}  // namespace continual
