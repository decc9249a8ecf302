#include "binding/draws.h"

#include <limits>

#include "binding/engine.h"
#include "binding/values.h"

namespace continual {

namespace {

Draws drawsOfOne(const Napi::Object& entry, const Source& source, int64_t total) {
  Draws draws;
  draws.timesteps = integers(field(entry, "timesteps"), "timesteps");
  for (const DrawsField& f : drawsFields) {
    if (f.tensor == &Draws::timesteps || !has(entry, f.name)) continue;
    const Napi::Value given = field(entry, f.name);
    draws.*f.tensor = f.isInteger ? integers(given, f.name) : overTensor(given, f.name).clone();
  }
  for (const DrawsField& f : drawsFields) {
    const at::Tensor& t = draws.*f.tensor;
    // A teacher's images may be given in place of what it generates them from.
    const bool isForImages = f.tensor == &Draws::z || f.tensor == &Draws::stepNoise || f.tensor == &Draws::classes;
    const bool isGiven = source.kind == SourceKind::teacher && draws.x0.defined();
    if (!t.defined() && f.drawn(source) && !(isForImages && isGiven)) {
      throw Error("ERR_INVALID_ARGUMENT", std::string("draws: ") + f.name + " is missing, which this source draws");
    }
    if (!t.defined() || f.tensor == &Draws::timesteps) continue;
    if (f.isInteger) {
      if (t.numel() != draws.timesteps.numel()) {
        throw Error("ERR_INVALID_ARGUMENT", std::string("draws: expected one of ") + f.name + " for each image");
      }
    } else if (f.imagesAt == 0) {
      checkBatch(t, draws.timesteps, total, f.name);
    } else if (t.dim() != 5 || t.size(0) < source.sampler.noises() || t.size(1) != draws.timesteps.numel()) {
      throw Error("ERR_INVALID_ARGUMENT", std::string("draws: ") + f.name + " does not have a noise for each step");
    }
  }
  return draws;
}

}  // namespace

void checkBatch(const at::Tensor& images, const at::Tensor& timesteps, int64_t total, const char* what) {
  const bool fits = images.dim() == 4 && images.size(0) >= 1 && images.size(0) == timesteps.numel() &&
                    timesteps.min().item<double>() >= 0 &&
                    timesteps.max().item<double>() <= static_cast<double>(total - 1);
  if (!fits) {
    throw Error("ERR_INVALID_ARGUMENT", std::string(what) + ": expected N×C×H×W with N ≥ 1 and N timesteps in 0 … " +
                                            std::to_string(total - 1));
  }
}

ModelInput modelInput(const Napi::Value& xt, const Napi::Value& timesteps, const Napi::Value& labels,
                      const DiffusionModel& model) {
  const bool hasFractions =
      timesteps.IsTypedArray() && timesteps.As<Napi::TypedArray>().TypedArrayType() == napi_float32_array;
  const bool areLevels = hasFractions && model.unet.config().timeEmbedding == TimeEmbedding::fourier;
  // Copies: JavaScript may change, resize or transfer its buffers before the job runs.
  ModelInput input{overTensor(xt, "xt").clone(),
                   hasFractions ? overFloats(timesteps, "timesteps").clone() : integers(timesteps, "timesteps")};
  constexpr int64_t anyLevel = std::numeric_limits<int64_t>::max();
  checkBatch(input.xt, input.timesteps, areLevels ? anyLevel : model.schedule.timesteps(), "xt");
  input.labels = labelsFrom(labels, model.unet, input.timesteps.numel());
  return input;
}

at::Tensor labelsFrom(const Napi::Value& value, const UNet& unet, int64_t count) {
  if (value.IsUndefined()) return {};
  if (unet.config().classEmbedding == ClassEmbedding::identity) {
    const at::Tensor vectors = overFloats(value, "labels");
    const int64_t width = unet.config().timeChannels();
    if (vectors.numel() != count * width) {
      throw Error("ERR_INVALID_ARGUMENT", "labels: expected N × " + std::to_string(width) + " numbers");
    }
    return vectors.clone().view({count, width});
  }
  const at::Tensor labels = integers(value, "labels");
  if (labels.numel() != count) throw Error("ERR_INVALID_ARGUMENT", "labels: expected one for each image");
  return labels;
}

Napi::Value toDraws(Napi::Env env, const Draws& draws) {
  auto entry = Napi::Object::New(env);
  for (const DrawsField& f : drawsFields) {
    const at::Tensor& t = draws.*f.tensor;
    if (!t.defined()) continue;
    entry.Set(f.name, t.scalar_type() == at::kLong ? toInt32Array(env, t) : toTensorObject(env, t));
  }
  return entry;
}

Napi::Value toDrawsList(Napi::Env env, const std::vector<Draws>& draws) {
  auto result = Napi::Array::New(env, draws.size());
  for (size_t i = 0; i < draws.size(); ++i) result.Set(static_cast<uint32_t>(i), toDraws(env, draws[i]));
  return result;
}

std::vector<Draws> drawsFrom(const Napi::Value& value, const Objective& objective, int64_t timesteps) {
  const std::vector<Napi::Object> entries = elements(value, "draws");
  if (entries.size() != objective.sources.size()) {
    throw Error("ERR_INVALID_ARGUMENT", "draws: expected one entry for each of the objective's " +
                                            std::to_string(objective.sources.size()) + " distinct sources");
  }
  std::vector<Draws> result;
  for (size_t i = 0; i < entries.size(); ++i) {
    result.push_back(drawsOfOne(entries[i], objective.sources[i], timesteps));
    if (result[i].timesteps.numel() != result[0].timesteps.numel()) {
      throw Error("ERR_INVALID_ARGUMENT", "draws: every source must have as many images as the first");
    }
  }
  return result;
}

std::vector<Draws> moved(std::vector<Draws> draws, at::Device device) {
  for (Draws& d : draws) d = d.with([&](const at::Tensor& t, int64_t) { return t.to(device); });
  return draws;
}

}  // namespace continual
