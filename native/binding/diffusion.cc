#include "binding/addon.h"
#include "binding/convert.h"

namespace continual {

namespace {

Napi::Value schedule(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const NoiseSchedule made(scheduleConfig(info[0].As<Napi::Object>()), at::kCPU);
    auto result = Napi::Object::New(info.Env());
    result.Set("betas", toFloat64Array(info.Env(), made.betas()));
    result.Set("alphasCumprod", toFloat64Array(info.Env(), made.alphasCumprod()));
    return result;
  });
}

Napi::Value timesteps(const Napi::CallbackInfo& info) {
  return guarded(info.Env(), [&] {
    const ScheduleConfig schedule = scheduleConfig(info[0].As<Napi::Object>());
    const SamplerConfig sampler = samplerConfig(info[1].As<Napi::Object>());
    if (sampler.steps < 1 || sampler.steps > schedule.timesteps) {
      throw Error("ERR_INVALID_ARGUMENT", "steps: expected 1 … " + std::to_string(schedule.timesteps) + ", found " +
                                              std::to_string(sampler.steps));
    }
    const Timesteps plan = samplerTimesteps(schedule.timesteps, sampler, at::zeros({1}, at::kLong));
    auto result = Napi::Object::New(info.Env());
    result.Set("timesteps", toInt32Array(info.Env(), plan.timesteps));
    result.Set("previous", toInt32Array(info.Env(), plan.previous));
    return result;
  });
}

Napi::Value step(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return guarded(env, [&] {
    const auto options = info[0].As<Napi::Object>();
    const ScheduleConfig schedule = scheduleConfig(object(options, "schedule"));
    const SamplerConfig sampler = samplerConfig(object(options, "sampler"));
    const auto copy = [&](const char* name) { return overTensor(field(options, name), name).clone(); };
    const at::Tensor xt = copy("sample"), prediction = copy("prediction");
    const at::Tensor noise = has(options, "noise") ? copy("noise") : at::Tensor();
    const int64_t timestep = integer(options, "timestep"), previous = integer(options, "previous");
    const bool shapesFit = xt.dim() == 4 && xt.sizes() == prediction.sizes() &&
                           (!noise.defined() || noise.sizes() == xt.sizes()) && (noise.defined() || !sampler.noisy());
    if (!shapesFit || timestep < 0 || timestep >= schedule.timesteps || previous < -1 || previous >= timestep) {
      throw Error("ERR_INVALID_ARGUMENT",
                  "samplerStep: sample, prediction and noise (needed by ddpm and where eta > 0) must have one shape "
                  "N×C×H×W, and −1 ≤ previous < timestep < " +
                      std::to_string(schedule.timesteps));
    }
    return state(env).engine.run(
        env, {},
        [=] {
          const NoiseSchedule made(schedule, at::kCPU);
          const auto all = [&](int64_t t) { return at::full({xt.size(0)}, t, at::kLong); };
          return samplerStep(made, sampler, xt, prediction, {all(timestep), all(previous)}, noise);
        },
        toTensorObject);
  });
}

}  // namespace

void defineDiffusion(Napi::Env env, Napi::Object exports) {
  exports.Set("schedule", Napi::Function::New<schedule>(env, "schedule"));
  exports.Set("samplerTimesteps", Napi::Function::New<timesteps>(env, "samplerTimesteps"));
  exports.Set("samplerStep", Napi::Function::New<step>(env, "samplerStep"));
}

}  // namespace continual
