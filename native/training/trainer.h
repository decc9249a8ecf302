#pragma once

#include <memory>
#include <vector>

#include "runtime/team.h"
#include "training/importance.h"
#include "training/sampling.h"
#include "training/session.h"
#include "training/step.h"

namespace continual {

/// One diffusion model in training: the parts that its work is done with. They refer to each other, so it stays where
/// it was made.
struct Trainer {
  DiffusionModel model;
  ModelState state;
  Team team;
  Group group;
  TrainingStep step;
  Sampling sampling;

  Trainer(const UNetConfig& unet, NoiseSchedule schedule, const Parametrisation& parametrisation, const Compute& how,
          uint64_t seed, const AverageDecay& average, Group processes = {});
  Trainer(const Trainer&) = delete;
  Trainer& operator=(const Trainer&) = delete;

  std::unique_ptr<Session> begin(SessionConfig config);
  at::Tensor predict(StateTensor weights, const ModelInput& input);
  void consolidate(const std::vector<Consolidation>& consolidations, const Pool& pool,
                   const Cancellation& cancellation);
};

}  // namespace continual
