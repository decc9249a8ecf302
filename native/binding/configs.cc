#include "binding/configs.h"

#include <algorithm>
#include <tuple>

#include "binding/engine.h"
#include "binding/values.h"

namespace continual {

namespace {

std::vector<BlockKind> blocks(const Napi::Object& object, const char* name, const std::string& direction) {
  constexpr std::pair<const char*, BlockKind> kinds[] = {{"*Block2D", BlockKind::plain},
                                                         {"Attn*Block2D", BlockKind::attention},
                                                         {"Resnet*Block2D", BlockKind::resnet},
                                                         {"Skip*Block2D", BlockKind::skip},
                                                         {"AttnSkip*Block2D", BlockKind::attentionSkip},
                                                         {"K*Block2D", BlockKind::k},
                                                         {"KCrossAttn*Block2D", BlockKind::kAttention}};
  std::vector<BlockKind> result;
  for (const std::string& type : strings(object, name)) {
    const auto* const found = std::find_if(std::begin(kinds), std::end(kinds), [&](const auto& entry) {
      std::string known = entry.first;
      // Diffusers calls the blocks that resample by a residual block by what they do.
      const bool samples = entry.second == BlockKind::resnet;
      return known.replace(known.find('*'), 1, samples ? direction + "sample" : direction) == type;
    });
    if (found == std::end(kinds)) {
      throw Napi::TypeError::New(object.Env(), std::string(name) + ": unknown value '" + type + "'");
    }
    result.push_back(found->second);
  }
  return result;
}

std::optional<int64_t> optionalInteger(const Napi::Object& object, const char* name) {
  return has(object, name) ? std::optional(integer(object, name)) : std::nullopt;
}

ClassEmbedding classEmbedding(const Napi::Object& value) {
  if (has(value, "class_embed_type")) {
    return choose<ClassEmbedding>(value, "class_embed_type",
                                  {{"timestep", ClassEmbedding::timestep}, {"identity", ClassEmbedding::identity}});
  }
  return has(value, "num_class_embeds") ? ClassEmbedding::table : ClassEmbedding::none;
}

/// [from, to), which may be the `range` of a distribution; all timesteps where none are given.
void readTimesteps(const Napi::Object& object, int64_t timesteps, int64_t& from, int64_t& to) {
  to = timesteps;
  Napi::Value range = field(object, "timesteps");
  if (range.IsObject() && !range.IsArray()) range = field(range.As<Napi::Object>(), "range");
  if (range.IsArray()) {
    from = integer(range.As<Napi::Object>(), "0");
    to = integer(range.As<Napi::Object>(), "1");
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
  UNetConfig c;
  const auto is = [&](const char* name, const char* word) { return has(value, name) && string(value, name) == word; };
  const auto flag = [&](const char* name, bool& to) { to = has(value, name) ? boolean(value, name) : to; };
  const auto decimal = [&](const char* name, double& to) { to = has(value, name) ? number(value, name) : to; };
  if (has(value, "sample_size")) std::tie(c.sampleHeight, c.sampleWidth) = sides(value, "sample_size", 4096);
  c.inChannels = integer(value, "in_channels");
  c.outChannels = integer(value, "out_channels");
  c.blockOutChannels = integerList(field(value, "block_out_channels"), "block_out_channels");
  c.down = blocks(value, "down_block_types", "Down");
  c.up = blocks(value, "up_block_types", "Up");
  c.layersPerBlock = integer(value, "layers_per_block");
  c.normNumGroups = optionalInteger(value, "norm_num_groups");
  c.normEps = number(value, "norm_eps");
  c.attentionHeadDim = optionalInteger(value, "attention_head_dim");
  c.middle = field(value, "mid_block_type").IsUndefined() || !field(value, "mid_block_type").IsNull();
  c.midAttention = boolean(value, "add_attention");
  c.midAttentionGroups = optionalInteger(value, "attn_norm_num_groups");
  decimal("mid_block_scale_factor", c.midScale);
  c.downsampleByResnet = is("downsample_type", "resnet");
  c.upsampleByResnet = is("upsample_type", "resnet");
  c.padsAfter = has(value, "downsample_padding") && integer(value, "downsample_padding") == 0;
  c.timeScalesAndShifts = is("resnet_time_scale_shift", "scale_shift");
  if (has(value, "act_fn")) {
    c.activation = choose<Activation>(value, "act_fn",
                                      {{"silu", Activation::silu},
                                       {"mish", Activation::mish},
                                       {"gelu", Activation::gelu},
                                       {"relu", Activation::relu}});
  }
  decimal("dropout", c.dropout);
  flag("center_input_sample", c.centersInput);
  if (has(value, "time_embedding_type")) {
    c.timeEmbedding = choose<TimeEmbedding>(value, "time_embedding_type",
                                            {{"positional", TimeEmbedding::positional},
                                             {"fourier", TimeEmbedding::fourier},
                                             {"learned", TimeEmbedding::learned}});
  }
  if (c.timeEmbedding == TimeEmbedding::learned) c.timeRows = integer(value, "num_train_timesteps", 1, 1 << 20);
  if (has(value, "time_embedding_dim")) c.timeEmbeddingDim = integer(value, "time_embedding_dim", 1, 1 << 20);
  c.flipSinToCos = boolean(value, "flip_sin_to_cos");
  c.freqShift = number(value, "freq_shift");
  c.classEmbedding = classEmbedding(value);
  if (has(value, "num_class_embeds")) c.classRows = integer(value, "num_class_embeds", 1, 1 << 20);

  const size_t levels = c.blockOutChannels.size();
  // Bounds of lib/config/unet.ts too: within them no number of elements overflows.
  const auto outside = [](int64_t number, int64_t least, int64_t most) { return number < least || number > most; };
  if (levels == 0 || levels > 12 || c.down.size() != levels || c.up.size() != levels ||
      outside(c.layersPerBlock, 0, 64) || outside(c.inChannels, 1, 64) || outside(c.outChannels, 1, 64) ||
      std::any_of(c.blockOutChannels.begin(), c.blockOutChannels.end(),
                  [&](int64_t width) { return outside(width, 1, 65536); })) {
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
      .variance = choose<Variance>(value, "variance",
                                   {{"small", Variance::small},
                                    {"large", Variance::large},
                                    {"learned", Variance::learned},
                                    {"learned-range", Variance::learnedRange}}),
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

AverageDecay averageDecay(const Napi::Value& value) {
  if (value.IsNumber()) return {value.As<Napi::Number>().DoubleValue()};
  const auto given = value.As<Napi::Object>();
  const auto warmUp = choose<AverageDecay::WarmUp>(
      given, "warmup", {{"ratio", AverageDecay::WarmUp::ratio}, {"power", AverageDecay::WarmUp::power}});
  if (warmUp == AverageDecay::WarmUp::ratio) return {number(given, "decay"), warmUp};
  return {number(given, "decay"), warmUp, number(given, "invGamma"), number(given, "power")};
}

Objective objective(const Napi::Object& value, int64_t timesteps, const UNet& unet, const std::vector<int64_t>& pools,
                    const std::vector<int64_t>& distributions) {
  Objective result;
  for (const Napi::Object& term : elements(field(value, "terms"), "terms")) {
    Source source = readSource(term, timesteps);
    source.labelled = unet.isConditional();
    source.dropsOut = unet.config().dropout > 0;
    const size_t i = result.terms.size();
    if (i < pools.size()) source.pool = pools[i];
    if (i < distributions.size()) source.distribution = distributions[i];
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
