#include "binding/configs.h"

#include <algorithm>

#include "binding/engine.h"
#include "binding/values.h"

namespace continual {

namespace {

std::vector<bool> attends(const Napi::Object& object, const char* name, const std::string& withAttention) {
  std::vector<bool> result;
  for (const std::string& type : strings(object, name)) result.push_back(type == withAttention);
  return result;
}

ClassEmbedding classEmbedding(const Napi::Object& value) {
  if (has(value, "class_embed_type")) {
    return choose<ClassEmbedding>(value, "class_embed_type",
                                  {{"timestep", ClassEmbedding::timestep}, {"identity", ClassEmbedding::identity}});
  }
  return has(value, "num_class_embeds") ? ClassEmbedding::table : ClassEmbedding::none;
}

/// [from, to), all timesteps where none are given.
void readTimesteps(const Napi::Object& object, int64_t timesteps, int64_t& from, int64_t& to) {
  to = timesteps;
  if (has(object, "timesteps")) {
    const auto range = continual::object(object, "timesteps");
    from = integer(range, "0");
    to = integer(range, "1");
  }
  if (from < 0 || from >= to || to > timesteps) {
    throw makeError(object.Env(), "ERR_INVALID_ARGUMENT",
                    "timesteps: expected [from, to) within 0 … " + std::to_string(timesteps));
  }
}

Source readSource(const Napi::Object& term, int64_t timesteps) {
  const auto from = object(term, "source");
  Source source;
  source.kind = choose<SourceKind>(from, "kind",
                                   {{"task", SourceKind::task},
                                    {"memory", SourceKind::memory},
                                    {"teacher", SourceKind::teacher},
                                    {"gaussian", SourceKind::gaussian}});
  if (source.kind == SourceKind::teacher) {
    source.sampler = samplerConfig(object(from, "sampler"), timesteps);
    source.stopAtTimestep = has(from, "stopAtTimestep") && boolean(from, "stopAtTimestep");
  }
  source.symmetric = source.kind == SourceKind::gaussian && has(from, "symmetric") && boolean(from, "symmetric");
  readTimesteps(term, timesteps, source.from, source.to);
  return source;
}

Loss readLoss(const Napi::Object& term) {
  const Napi::Value loss = field(term, "loss");
  if (loss.IsObject()) {
    const auto given = loss.As<Napi::Object>();
    const auto kind = choose<LossKind>(given, "kind", {{"min-snr", LossKind::minSnr}, {"huber", LossKind::huber}});
    return {kind, number(given, kind == LossKind::huber ? "delta" : "gamma")};
  }
  if (!loss.IsString()) return {};
  return {choose<LossKind>(term, "loss", {{"mse", LossKind::mse}, {"smooth-l1", LossKind::smoothL1}}), 0};
}

}  // namespace

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
               field(value, "attention_head_dim").IsNull() ? 0 : integer(value, "attention_head_dim"),
               boolean(value, "add_attention"),
               boolean(value, "flip_sin_to_cos"),
               number(value, "freq_shift"),
               classEmbedding(value),
               has(value, "num_class_embeds") ? integer(value, "num_class_embeds", 1, 1 << 20) : 0};
  const size_t levels = c.blockOutChannels.size();
  // Bounds of lib/config/unet.ts too: within them no number of elements overflows.
  const auto unfit = [&](int64_t width) { return width < 2 || width > 65536; };
  if (levels == 0 || levels > 12 || c.downAttention.size() != levels || c.upAttention.size() != levels ||
      c.layersPerBlock < 1 || c.layersPerBlock > 64 || c.normNumGroups < 1 || c.attentionHeadDim < 0 ||
      c.sampleSize < 1 || c.sampleSize > 4096 || c.inChannels < 1 || c.inChannels > 4 || c.outChannels < 1 ||
      c.outChannels > 4 || std::any_of(c.blockOutChannels.begin(), c.blockOutChannels.end(), unfit)) {
    throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "unet: its blocks do not fit each other");
  }
  return c;
}

ScheduleTable scheduleTable(const Napi::Object& value) {
  ScheduleTable table{overFloats(field(value, "alpha2"), "alpha2").clone(),
                      overFloats(field(value, "sigma2"), "sigma2").clone(),
                      {},
                      boolean(value, "straight")};
  if (has(value, "told")) table.told = overFloats(field(value, "told"), "told").clone();
  const int64_t length = table.alpha2.numel();
  if (length < 2 || length != table.sigma2.numel() || (table.told.defined() && length != table.told.numel())) {
    throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "schedule: expected tables of one length, at least 2");
  }
  return table;
}

SamplerConfig samplerConfig(const Napi::Object& value, int64_t timesteps) {
  SamplerConfig config{
      .sampler = &sampler(string(value, "kind")),
      .steps = integer(value, "steps"),
      .eta = number(value, "eta"),
      .clip = field(value, "clip").IsBoolean() ? (boolean(value, "clip") ? 1.0 : 0.0) : number(value, "clip"),
      .spacing = choose<Spacing>(
          value, "spacing",
          {{"trailing", Spacing::trailing}, {"leading", Spacing::leading}, {"linspace", Spacing::linspace}}),
      .offset = integer(value, "offset"),
      .karras = boolean(value, "karras"),
      .endsAtFirst = choose<bool>(value, "final", {{"clean", false}, {"first", true}}),
      .largeVariance = choose<bool>(value, "variance", {{"small", false}, {"large", true}}),
      .tiny = has(value, "parity") ? choose<double>(value, "parity", {{"paper", 1e-8}}) : 0,
  };
  if (has(value, "thresholding")) {
    const auto thresholding = object(value, "thresholding");
    config.thresholdRatio = number(thresholding, "ratio");
    config.thresholdMax = number(thresholding, "max");
    if (!(config.thresholdRatio > 0 && config.thresholdRatio <= 1)) {
      throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "thresholding: expected a ratio in (0, 1]");
    }
  }
  if (has(value, "guidance")) {
    const auto guidance = object(value, "guidance");
    config.guidance.scale = number(guidance, "scale");
    readTimesteps(guidance, timesteps, config.guidance.from, config.guidance.to);
  }
  if (config.steps < 1 || config.steps > timesteps || !(config.eta >= 0)) {
    throw makeError(value.Env(), "ERR_INVALID_ARGUMENT",
                    "sampler: expected 1 … " + std::to_string(timesteps) + " steps, and eta at least 0");
  }
  return config;
}

LearningRate learningRate(const Napi::Object& value) {
  LearningRate rate{number(value, "lr")};
  if (!has(value, "lrSchedule")) return rate;
  const auto schedule = object(value, "lrSchedule");
  rate.kind = choose<LearningRate::Kind>(schedule, "kind",
                                         {{"constant", LearningRate::Kind::constant},
                                          {"linear", LearningRate::Kind::linear},
                                          {"cosine", LearningRate::Kind::cosine}});
  rate.warmup = integer(schedule, "warmup", 0, int64_t{1} << 52);
  rate.steps = integer(schedule, "steps", 1, int64_t{1} << 52);
  rate.final = number(schedule, "final");
  return rate;
}

OptimizerConfig optimizerConfig(const Napi::Object& value) {
  const auto betas = object(value, "betas");
  return {number(betas, "0"),
          number(betas, "1"),
          number(value, "eps"),
          number(value, "weightDecay"),
          number(value, "clipGradNorm"),
          has(value, "decoupledWeightDecay") && boolean(value, "decoupledWeightDecay")};
}

Objective objective(const Napi::Object& value, int64_t timesteps, bool labelled, const std::vector<int64_t>& pools) {
  Objective result;
  for (const Napi::Object& term : elements(field(value, "terms"), "terms")) {
    Source source = readSource(term, timesteps);
    source.labelled = labelled;
    if (result.terms.size() < pools.size()) source.pool = pools[result.terms.size()];
    if (source.pool >= 0 && source.kind != SourceKind::teacher) {
      throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "pools: only a teacher's images are drawn from a pool");
    }
    const auto same = std::find(result.sources.begin(), result.sources.end(), source);
    const auto index = static_cast<size_t>(same - result.sources.begin());
    if (same == result.sources.end()) result.sources.push_back(source);
    const auto target = choose<Target>(term, "target", {{"data", Target::data}, {"teacher", Target::teacher}});
    if (target == Target::data && !source.addsNoise()) {  // there is no clean image to make the target of
      throw makeError(value.Env(), "ERR_INVALID_ARGUMENT",
                      "terms: a source without a clean image must have the target 'teacher'");
    }
    result.terms.push_back({index, target, number(term, "weight"), readLoss(term)});
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
    c.estimate = choose<Importance>(entry, "kind",
                                    {{"squared-gradients", Importance::squaredGradients},
                                     {"mean-gradient", Importance::meanGradient},
                                     {"path-integral", Importance::pathIntegral}});
    if (has(entry, "decay")) c.decay = number(entry, "decay");
    if (c.estimate == Importance::pathIntegral) {
      c.damping = number(entry, "damping");
    } else {
      c.samples = integer(entry, "samples");
      readTimesteps(entry, timesteps, c.from, c.to);
      if (c.samples < 1) {
        throw makeError(value.Env(), "ERR_INVALID_ARGUMENT", "consolidations: samples must be at least 1");
      }
    }
    if (c.estimate == Importance::meanGradient) c.optimal = boolean(entry, "optimal");
    result.push_back(std::move(c));
  }
  return result;
}

StateTensor stateTensor(const Napi::Value& value) {
  const std::string name = value.ToString().Utf8Value();
  if (name == "student") return StateTensor::student;
  if (name == "ema") return StateTensor::ema;
  if (name == "teacher") return StateTensor::teacher;
  if (name == "exp_avg") return StateTensor::expAvg;
  if (name == "exp_avg_sq") return StateTensor::expAvgSq;
  if (name == "path_start") return StateTensor::pathStart;
  if (name == "path_integral") return StateTensor::pathIntegral;
  if (name == "gradient") return StateTensor::gradient;
  throw Napi::TypeError::New(value.Env(), "tensor: unknown value '" + name + "'");
}

const char* toWord(Shape shape) { return shape == Shape::diagonal ? "diagonal" : "rank-1"; }

}  // namespace continual
