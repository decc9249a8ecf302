#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>

#include "runtime/team.h"

namespace continual {

/// Calls `work` without gradients for ranges of 0 … total, one for each member of the team.
void overRanges(Team& team, int64_t total, const std::function<void(int64_t begin, int64_t end)>& work);

/// Adds up what `part` gives for each range, in the ranges' order, so that threads don't change the sum.
at::Tensor sumOverRanges(Team& team, int64_t total, const std::function<at::Tensor(int64_t begin, int64_t end)>& part);

}  // namespace continual
