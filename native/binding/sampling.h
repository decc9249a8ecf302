#pragma once

#include <napi.h>

#include "training/sampling.h"

namespace continual {

/// `Learner.sample`'s options, without the guide. `timesteps`: T.
SampleConfig sampleConfig(const Napi::Object& options, const UNet& unet, int64_t timesteps);

}  // namespace continual
