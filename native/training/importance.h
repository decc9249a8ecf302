#pragma once

#include <vector>

#include "data/images.h"
#include "distributed/group.h"
#include "runtime/cancellation.h"
#include "runtime/team.h"
#include "training/model_state.h"

namespace continual {

/// The draws of the samples that `consolidate` estimates from: a pure function of (seed, step, data). Where there are
/// more samples than images, images come again.
Draws drawSamples(const DiffusionModel& model, const Position& at, const Consolidation& consolidation,
                  const Pool& pool);

/// Adds the task that ends here to what is kept for penalties. All of it or, where it throws or is cancelled (throws
/// Cancelled), nothing.
void consolidate(const DiffusionModel& model, ModelState& state, Team& team, const Group& group,
                 const std::vector<Consolidation>& consolidations, const Pool& pool, const Cancellation& cancellation);

}  // namespace continual
