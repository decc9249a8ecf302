#include "binding/convert.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "binding/engine.h"

namespace continual {

namespace {

[[noreturn]] void wrongType(Napi::Env env, const char* name, const char* expected) {
  throw Napi::TypeError::New(env, std::string(name) + ": expected " + expected);
}

template <class Array>
at::Tensor over(const Napi::Value& value, const char* what, napi_typedarray_type type, const char* expected,
                at::ScalarType dtype) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != type) {
    wrongType(value.Env(), what, expected);
  }
  auto array = value.As<Array>();
  return at::from_blob(array.Data(), {static_cast<int64_t>(array.ElementLength())}, dtype);
}

template <class T>
T choose(const Napi::Object& object, const char* name, std::initializer_list<std::pair<const char*, T>> choices) {
  const std::string found = string(object, name);
  for (const auto& [word, value] : choices) {
    if (found == word) return value;
  }
  throw Napi::TypeError::New(object.Env(), std::string(name) + ": unknown value '" + found + "'");
}

template <class Array>
Napi::Value external(Napi::Env env, const at::Tensor& tensor, at::ScalarType dtype) {
  auto kept = std::make_unique<at::Tensor>(tensor.to(at::kCPU, dtype).contiguous());
  const size_t count = static_cast<size_t>(kept->numel());
  if (count == 0) return Array::New(env, 0);
  const auto buffer = Napi::ArrayBuffer::New(
      env, kept->mutable_data_ptr(), kept->nbytes(), [](Napi::Env, void*, at::Tensor* memory) { delete memory; },
      kept.get());
  kept.release();
  return Array::New(env, count, buffer, 0);
}

std::vector<Napi::Object> elements(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) wrongType(value.Env(), what, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<Napi::Object> result;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    const Napi::Value element = array[i];
    if (!element.IsObject()) wrongType(value.Env(), what, "an array of objects");
    result.push_back(element.As<Napi::Object>());
  }
  return result;
}

std::vector<std::string> strings(const Napi::Object& object, const char* name) {
  const auto array = field(object, name).As<Napi::Array>();
  std::vector<std::string> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(Napi::Value(array[i]).ToString().Utf8Value());
  return result;
}

std::vector<int64_t> integerList(const Napi::Value& value, const char* what) {
  if (!value.IsArray()) wrongType(value.Env(), what, "an array of integers");
  const auto array = value.As<Napi::Array>();
  std::vector<int64_t> result;
  for (uint32_t i = 0; i < array.Length(); ++i) result.push_back(Napi::Value(array[i]).ToNumber().Int64Value());
  return result;
}

std::vector<bool> attends(const Napi::Object& object, const char* name, const std::string& withAttention) {
  std::vector<bool> result;
  for (const std::string& type : strings(object, name)) result.push_back(type == withAttention);
  return result;
}

}  // namespace

Napi::Value field(const Napi::Object& object, const char* name) { return object.Get(name); }

bool has(const Napi::Object& object, const char* name) { return !object.Get(name).IsUndefined(); }

double number(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) wrongType(object.Env(), name, "a number");
  return value.As<Napi::Number>().DoubleValue();
}

int64_t integer(const Napi::Object& object, const char* name) {
  const double value = number(object, name);
  if (!(std::abs(value) < 0x1p53)) wrongType(object.Env(), name, "an integer");
  return static_cast<int64_t>(value);
}

int64_t integer(const Napi::Object& object, const char* name, int64_t lowest, int64_t highest) {
  const int64_t value = integer(object, name);
  if (value < lowest || value > highest) {
    throw makeError(object.Env(), "ERR_INVALID_ARGUMENT",
                    std::string(name) + ": expected " + std::to_string(lowest) + " … " + std::to_string(highest) +
                        ", found " + std::to_string(value));
  }
  return value;
}

uint64_t seed(const Napi::Object& object) {
  return static_cast<uint64_t>(integer(object, "seed", 0, std::numeric_limits<int64_t>::max()));
}

bool boolean(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsBoolean()) wrongType(object.Env(), name, "a boolean");
  return value.As<Napi::Boolean>().Value();
}

std::string string(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsString()) wrongType(object.Env(), name, "a string");
  return value.As<Napi::String>().Utf8Value();
}

Napi::Object object(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsObject()) wrongType(object.Env(), name, "an object");
  return value.As<Napi::Object>();
}

at::Tensor overBytes(const Napi::Value& value, const char* what) {
  return over<Napi::Uint8Array>(value, what, napi_uint8_array, "a Uint8Array", at::kByte);
}

at::Tensor overFloats(const Napi::Value& value, const char* what) {
  return over<Napi::Float32Array>(value, what, napi_float32_array, "a Float32Array", at::kFloat);
}

at::Tensor overDoubles(const Napi::Value& value, const char* what) {
  return over<Napi::Float64Array>(value, what, napi_float64_array, "a Float64Array", at::kDouble);
}

at::Tensor integers(const Napi::Value& value, const char* what) {
  const at::Tensor given = over<Napi::Int32Array>(value, what, napi_int32_array, "an Int32Array", at::kInt);
  // Not by an operator: those may start threads of their own on JavaScript's.
  at::Tensor result = at::empty({given.numel()}, at::kLong);
  std::copy_n(given.const_data_ptr<int32_t>(), given.numel(), result.mutable_data_ptr<int64_t>());
  return result;
}

at::Tensor overTensor(const Napi::Value& value, const char* what) {
  if (!value.IsObject()) wrongType(value.Env(), what, "{ data, shape }");
  const auto object = value.As<Napi::Object>();
  const std::vector<int64_t> shape = integerList(field(object, "shape"), what);
  const at::Tensor flat = overFloats(field(object, "data"), what);
  int64_t count = 1;
  for (const int64_t length : shape) {
    if (length < 0 || (length > 0 && count > flat.numel() / length)) count = -1;
    if (count < 0) break;
    count *= length;
  }
  if (count != flat.numel()) {
    throw makeError(
        value.Env(), "ERR_INVALID_ARGUMENT",
        std::string(what) + ": the shape does not have the data's " + std::to_string(flat.numel()) + " elements");
  }
  return flat.view(shape);
}

std::vector<at::Tensor> floatArrays(const Napi::Value& value, const char* what) {
  std::vector<Napi::Value> arrays;
  std::vector<at::Tensor> result = overFloatArrays(value, what, arrays);
  for (at::Tensor& tensor : result) tensor = tensor.clone();
  return result;
}

std::vector<at::Tensor> overFloatArrays(const Napi::Value& value, const char* what, std::vector<Napi::Value>& keep) {
  if (!value.IsArray()) wrongType(value.Env(), what, "an array");
  const auto array = value.As<Napi::Array>();
  std::vector<at::Tensor> result;
  for (uint32_t i = 0; i < array.Length(); ++i) {
    keep.push_back(array[i]);
    result.push_back(overFloats(keep.back(), what));
  }
  return result;
}

Napi::Value toFloat32Array(Napi::Env env, const at::Tensor& tensor) {
  return external<Napi::Float32Array>(env, tensor, at::kFloat);
}

Napi::Value toUint8Array(Napi::Env env, const at::Tensor& tensor) {
  return external<Napi::Uint8Array>(env, tensor, at::kByte);
}

Napi::Value toTensorObject(Napi::Env env, const at::Tensor& tensor) {
  auto result = Napi::Object::New(env);
  auto shape = Napi::Array::New(env);
  for (int64_t i = 0; i < tensor.dim(); ++i) {
    shape.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(tensor.size(i))));
  }
  result.Set("data", toFloat32Array(env, tensor));
  result.Set("shape", shape);
  return result;
}

Napi::Value toFloat32Arrays(Napi::Env env, const std::vector<at::Tensor>& tensors) {
  auto result = Napi::Array::New(env, tensors.size());
  for (size_t i = 0; i < tensors.size(); ++i) result.Set(static_cast<uint32_t>(i), toFloat32Array(env, tensors[i]));
  return result;
}

Napi::Value toFloat64Array(Napi::Env env, const std::vector<double>& values) {
  auto result = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), result.Data());
  return result;
}

Napi::Value toInt32Array(Napi::Env env, const at::Tensor& integers) {
  const at::Tensor values = integers.contiguous();
  const int64_t* first = values.const_data_ptr<int64_t>();
  auto result = Napi::Int32Array::New(env, static_cast<size_t>(values.numel()));
  std::transform(first, first + values.numel(), result.Data(), [](int64_t v) { return static_cast<int32_t>(v); });
  return result;
}

Napi::Value toParameterList(Napi::Env env, const ParameterLayout& layout) {
  auto result = Napi::Array::New(env);
  uint32_t index = 0;
  for (const Parameter& p : layout.parameters()) {
    auto entry = Napi::Object::New(env);
    auto shape = Napi::Array::New(env);
    for (size_t i = 0; i < p.shape.size(); ++i) {
      shape.Set(static_cast<uint32_t>(i), Napi::Number::New(env, static_cast<double>(p.shape[i])));
    }
    entry.Set("name", Napi::String::New(env, p.name));
    entry.Set("shape", shape);
    result.Set(index++, entry);
  }
  return result;
}

Cancellation cancellation(const Napi::Value& flag, const std::atomic<bool>* closing) {
  if (flag.IsUndefined()) return {nullptr, closing};
  const at::Tensor memory = over<Napi::Int32Array>(flag, "cancel", napi_int32_array, "an Int32Array", at::kInt);
  if (memory.numel() == 0) wrongType(flag.Env(), "cancel", "an Int32Array of one element");
  return {memory.const_data_ptr<int32_t>(), closing};
}

UNetConfig unetConfig(const Napi::Object& value) {
  UNetConfig c{integer(value, "sample_size"),
               integer(value, "in_channels"),
               integer(value, "out_channels"),
               integerList(field(value, "block_out_channels"), "block_out_channels"),
               attends(value, "down_block_types", "AttnDownBlock2D"),
               attends(value, "up_block_types", "AttnUpBlock2D"),
               integer(value, "layers_per_block"),
               integer(value, "norm_num_groups"),
               number(value, "norm_eps"),
               integer(value, "attention_head_dim"),
               boolean(value, "add_attention"),
               boolean(value, "flip_sin_to_cos"),
               number(value, "freq_shift")};
  const size_t levels = c.blockOutChannels.size();
  // Bounds of lib/config/unet.ts too: within them no number of elements overflows.
  const auto unfit = [&](int64_t width) { return width < 2 || width > 65536 || width < c.attentionHeadDim; };
  if (levels == 0 || levels > 12 || c.downAttention.size() != levels || c.upAttention.size() != levels ||
      c.layersPerBlock < 1 || c.layersPerBlock > 64 || c.normNumGroups < 1 || c.attentionHeadDim < 1 ||
      c.sampleSize < 1 || c.sampleSize > 4096 || c.inChannels < 1 || c.inChannels > 4 || c.outChannels < 1 ||
      c.outChannels > 4 || std::any_of(c.blockOutChannels.begin(), c.blockOutChannels.end(), unfit)) {
    throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "unet: its blocks do not fit each other");
  }
  return c;
}

ScheduleConfig scheduleConfig(const Napi::Object& value) {
  if (integer(value, "timesteps") < 2) {
    throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "timesteps: expected at least 2");
  }
  return {integer(value, "timesteps"),
          choose<Betas>(value, "betas",
                        {{"linear", Betas::linear}, {"scaled-linear", Betas::scaledLinear}, {"cosine", Betas::cosine}}),
          number(value, "betaStart"),
          number(value, "betaEnd"),
          boolean(value, "zeroTerminalSnr"),
          choose<Prediction>(value, "prediction",
                             {{"epsilon", Prediction::epsilon}, {"sample", Prediction::sample}, {"v", Prediction::v}})};
}

SamplerConfig samplerConfig(const Napi::Object& value) {
  return {choose<SamplerKind>(value, "kind", {{"ddim", SamplerKind::ddim}, {"ddpm", SamplerKind::ddpm}}),
          integer(value, "steps"), number(value, "eta"), boolean(value, "clip"),
          choose<Spacing>(value, "spacing", {{"trailing", Spacing::trailing}, {"leading", Spacing::leading}})};
}

OptimizerConfig optimizerConfig(const Napi::Object& value) {
  const auto betas = object(value, "betas");
  return {number(value, "lr"),  number(betas, "0"),           number(betas, "1"),
          number(value, "eps"), number(value, "weightDecay"), number(value, "clipGradNorm")};
}

Objective objective(const Napi::Object& value, int64_t timesteps) {
  Objective result;
  for (const Napi::Object& term : elements(field(value, "terms"), "terms")) {
    const auto from = object(term, "source");
    Source source;
    source.kind = choose<SourceKind>(from, "kind",
                                     {{"task", SourceKind::task},
                                      {"memory", SourceKind::memory},
                                      {"teacher", SourceKind::teacher},
                                      {"gaussian", SourceKind::gaussian}});
    if (source.kind == SourceKind::teacher) {
      source.steps = integer(from, "steps");
      source.eta = has(from, "eta") ? number(from, "eta") : 0;
      source.stopAtTimestep = has(from, "stopAtTimestep") && boolean(from, "stopAtTimestep");
    }
    source.symmetric = source.kind == SourceKind::gaussian && has(from, "symmetric") && boolean(from, "symmetric");
    source.to = timesteps;
    if (has(term, "timesteps")) {
      const auto range = object(term, "timesteps");
      source.from = integer(range, "0");
      source.to = integer(range, "1");
    }
    const auto same = std::find(result.sources.begin(), result.sources.end(), source);
    const auto index = static_cast<size_t>(same - result.sources.begin());
    if (same == result.sources.end()) result.sources.push_back(source);

    Loss loss;
    const Napi::Value kind = field(term, "loss");
    if (kind.IsObject()) {
      choose<LossKind>(kind.As<Napi::Object>(), "kind", {{"min-snr", LossKind::minSnr}});
      loss = {LossKind::minSnr, number(kind.As<Napi::Object>(), "gamma")};
    } else if (kind.IsString()) {
      loss.kind = choose<LossKind>(term, "loss", {{"mse", LossKind::mse}, {"smooth-l1", LossKind::smoothL1}});
    }
    const auto target = choose<Target>(term, "target", {{"noise", Target::noise}, {"teacher", Target::teacher}});
    if (target == Target::noise && (source.kind == SourceKind::gaussian || source.stopAtTimestep)) {
      throw makeError(value.Env(), "ERR_INVALID_ARGUMENT",
                      "terms: a source that adds no noise to an image (gaussian, or a teacher stopped at the timestep) "
                      "has no noise to predict; its target must be 'teacher'");
    }
    const double weight = number(term, "weight");
    const bool finite = std::isfinite(weight) && weight >= 0 && std::isfinite(source.eta) && source.eta >= 0 &&
                        (loss.kind != LossKind::minSnr || loss.gamma > 0);
    if (!finite) {
      throw makeError(value.Env(), "ERR_INVALID_ARGUMENT",
                      "terms: weight and eta must be finite and at least 0, gamma above 0");
    }
    if (source.from < 0 || source.from >= source.to || source.to > timesteps ||
        (source.kind == SourceKind::teacher && (source.steps < 1 || source.steps > timesteps))) {
      throw makeError(value.Env(), "ERR_INVALID_ARGUMENT",
                      "terms: timesteps and steps must lie in 0 … " + std::to_string(timesteps));
    }
    result.terms.push_back({index, target, weight, loss});
  }
  if (result.terms.empty()) {
    throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "terms: an objective needs at least one term");
  }
  if (has(value, "penalties")) {
    for (const Napi::Object& penalty : elements(field(value, "penalties"), "penalties")) {
      result.penalties.push_back({string(penalty, "name"), number(penalty, "strength")});
    }
  }
  return result;
}

Shape shape(const Napi::Object& value) {
  return choose<Shape>(value, "shape", {{"diagonal", Shape::diagonal}, {"rank-1", Shape::rankOne}});
}

std::vector<Consolidation> consolidations(const Napi::Value& value, int64_t timesteps) {
  std::vector<Consolidation> result;
  for (const Napi::Object& entry : elements(value, "consolidations")) {
    Consolidation c;
    c.name = string(entry, "penalty");
    c.estimate = choose<Estimate>(entry, "kind",
                                  {{"squared-gradients", Estimate::squaredGradients},
                                   {"mean-gradient", Estimate::meanGradient},
                                   {"path-integral", Estimate::pathIntegral}});
    if (has(entry, "decay")) c.decay = number(entry, "decay");
    if (c.estimate == Estimate::pathIntegral) {
      c.damping = number(entry, "damping");
      if (!(c.damping > 0)) throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "damping: expected a number above 0");
    } else {
      c.samples = integer(entry, "samples");
      c.to = timesteps;
      if (has(entry, "timesteps")) {
        const auto range = object(entry, "timesteps");
        c.from = integer(range, "0");
        c.to = integer(range, "1");
      }
      if (c.samples < 1 || c.from < 0 || c.from >= c.to || c.to > timesteps) {
        throw makeError(
            value.Env(), "ERR_INVALID_ARGUMENT",
            "consolidations: samples must be at least 1, and timesteps lie in 0 … " + std::to_string(timesteps));
      }
    }
    if (c.estimate == Estimate::meanGradient) {
      c.optimal = boolean(entry, "optimal");
      if (c.decay) {
        throw makeError(
            value.Env(), "ERR_INVALID_ARGUMENT",
            "consolidations: a sum of matrices of rank one is not of rank one; decay has no meaning for it");
      }
    }
    result.push_back(std::move(c));
  }
  return result;
}

Napi::Value toPenalties(Napi::Env env, const Penalties& penalties) {
  auto result = Napi::Array::New(env);
  uint32_t index = 0;
  for (const auto& [name, kept] : penalties.kept()) {
    auto entry = Napi::Object::New(env);
    entry.Set("name", Napi::String::New(env, name));
    entry.Set("shape", Napi::String::New(env, kept.shape == Shape::diagonal ? "diagonal" : "rank-1"));
    entry.Set("parts", Napi::Number::New(env, static_cast<double>(kept.parts.size())));
    result.Set(index++, entry);
  }
  return result;
}

Slot slot(const Napi::Value& value) {
  const std::string name = value.ToString().Utf8Value();
  if (name == "student") return Slot::student;
  if (name == "ema") return Slot::ema;
  if (name == "teacher") return Slot::teacher;
  if (name == "exp_avg") return Slot::expAvg;
  if (name == "exp_avg_sq") return Slot::expAvgSq;
  if (name == "path_start") return Slot::pathStart;
  if (name == "path_integral") return Slot::pathIntegral;
  if (name == "gradient") return Slot::gradient;
  throw Napi::TypeError::New(value.Env(), "slot: unknown value '" + name + "'");
}

}  // namespace continual
