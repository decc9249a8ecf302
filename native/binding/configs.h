#pragma once

#include <napi.h>

#include <string>
#include <vector>

#include "diffusion/model.h"
#include "training/model_state.h"
#include "training/objective.h"

namespace continual {

UNetConfig unetConfig(const Napi::Object& value);
/// { alpha2, sigma2, told?, straight }, Float32Arrays of T. The tensors are copies.
ScheduleTable scheduleTable(const Napi::Object& value);
/// `timesteps`: T, of which a sampler can't visit more.
SamplerConfig samplerConfig(const Napi::Object& value, int64_t timesteps);
/// { lr, lrSchedule?: { kind, warmup, final, steps } }.
LearningRate learningRate(const Napi::Object& value);
OptimizerConfig optimizerConfig(const Napi::Object& value);
/// A decay, or { decay, warmup, invGamma?, power? }.
AverageDecay averageDecay(const Napi::Value& value);
/// `timesteps`: T, the default range of timesteps. `pools` and `distributions`: by term, Source::pool and
/// Source::distribution.
Objective objective(const Napi::Object& value, int64_t timesteps, const UNet& unet,
                    const std::vector<int64_t>& pools = {}, const std::vector<int64_t>& distributions = {});
StateTensor stateTensor(const Napi::Value& value);
Shape shape(const Napi::Object& value);
std::vector<Consolidation> consolidations(const Napi::Value& value, int64_t timesteps);
/// The word for a shape.
const char* toWord(Shape shape);

}  // namespace continual
