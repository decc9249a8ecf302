#pragma once

#include <napi.h>

#include "distributed/group.h"

namespace continual {

/// The group of processes in the field `group`; where there is none, that of this process alone.
Group groupOf(const Napi::Object& options);

}  // namespace continual
