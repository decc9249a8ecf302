#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "diffusion/model.h"
#include "runtime/cancellation.h"
#include "training/draws.h"
#include "training/objective.h"

namespace continual {

/// What a source makes of its draws.
struct NoisyInput {
  ModelInput input;
  at::Tensor x0;  // the clean images, where there are some
};
/// Runs the teacher where the source asks for it; `teacher` may be null where none does.
NoisyInput noisyInput(const DiffusionModel& model, const Source& source, const Draws& draws, const Weights* teacher,
                      const Cancellation& cancellation);

/// Losses over part of a batch: the sum with its graph, and the terms, unweighted.
struct TermLosses {
  at::Tensor total, terms;
};
TermLosses objectiveLoss(const DiffusionModel& model, const Objective& objective, const std::vector<Draws>& draws,
                         const Weights& student, const Weights* teacher, const Cancellation& cancellation);

}  // namespace continual
