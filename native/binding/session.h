#pragma once

#include <napi.h>

#include <memory>

#include "training/trainer.h"

namespace continual {

/// What JavaScript's learner owns.
struct LearnerValue {
  Trainer trainer;

  int64_t timesteps() const { return trainer.model.schedule.timesteps(); }
  const UNet& unet() const { return trainer.model.unet; }
  int threads() const { return trainer.model.how.threads; }
  int64_t bytes() const { return trainer.state.bytes(); }
};

/// A promise of a session of the learner, from { objective, pools?, task, memory, batchSize, horizontalFlip, labels?,
/// optimizer }.
Napi::Value beginSession(const Napi::CallbackInfo& info, std::shared_ptr<LearnerValue> learner);

}  // namespace continual
