#include "nn/blocks.h"

#include "runtime/error.h"

namespace continual {

at::Tensor Features::takeKept() {
  if (kept.empty()) throw Error("ERR_INVALID_ARGUMENT", "unet: its blocks do not fit each other");
  at::Tensor result = std::move(kept.back());
  kept.pop_back();
  return result;
}

std::vector<int64_t> inputsDown(const BlockPlace& place, const UNetConfig& c) {
  std::vector<int64_t> inputs(static_cast<size_t>(c.layersPerBlock), place.out);
  if (!inputs.empty()) inputs.front() = place.in;
  return inputs;
}

std::vector<int64_t> inputsUp(const BlockPlace& place, const UNetConfig& c) {
  std::vector<int64_t> inputs;
  for (int64_t i = 0; i <= c.layersPerBlock; ++i) {
    inputs.push_back((i == 0 ? place.before : place.out) + (i == c.layersPerBlock ? place.in : place.out));
  }
  return inputs;
}

namespace {

std::vector<AttentionBlock> attentionsFor(ParameterLayout& layout, const BlockPlace& place, size_t count,
                                          const UNetConfig& c) {
  std::vector<AttentionBlock> result;
  if (place.kind != BlockKind::attention) return result;
  for (size_t i = 0; i < count; ++i) {
    result.emplace_back(layout, place.name + ".attentions." + std::to_string(i), place.out, c.headChannels(place.out),
                        c.normNumGroups, c.normEps);
  }
  return result;
}

std::vector<ResnetBlock> resnetsFor(ParameterLayout& layout, const BlockPlace& place,
                                    const std::vector<int64_t>& inputs, const UNetConfig& c) {
  std::vector<ResnetBlock> result;
  for (size_t i = 0; i < inputs.size(); ++i) {
    result.emplace_back(layout, place.name + ".resnets." + std::to_string(i), inputs[i], place.out, c);
  }
  return result;
}

bool resamplesByResnet(const BlockPlace& place, bool whereItAttends) {
  return place.kind == BlockKind::resnet || (place.kind == BlockKind::attention && whereItAttends);
}

}  // namespace

DownBlock::DownBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c)
    : attentions(attentionsFor(layout, place, static_cast<size_t>(c.layersPerBlock), c)),
      resnets(resnetsFor(layout, place, inputsDown(place, c), c)) {
  if (place.isLast) return;
  const std::string name = place.name + ".downsamplers.0";
  if (resamplesByResnet(place, c.downsampleByResnet)) {
    resample.emplace<ResnetBlock>(layout, name, place.out, place.out, c, Resampling::average);
  } else {
    resample.emplace<Downsample>(layout, name + ".conv", place.out, c.padsAfter);
  }
}

void DownBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    f.x = resnets[i](w, f.x, condition);
    if (!attentions.empty()) f.x = attentions[i](w, f.x);
    f.kept.push_back(f.x);
  }
  if (const auto* const conv = std::get_if<Downsample>(&resample)) {
    f.kept.push_back(f.x = (*conv)(w, f.x));
  } else if (const auto* const resnet = std::get_if<ResnetBlock>(&resample)) {
    f.kept.push_back(f.x = (*resnet)(w, f.x, condition));
  }
}

namespace {

std::optional<AttentionBlock> middleAttention(ParameterLayout& layout, const UNetConfig& c) {
  if (!c.midAttention) return std::nullopt;
  const int64_t channels = c.blockOutChannels.back();
  const std::optional<int64_t> groups =
      c.midAttentionGroups || c.timeScalesAndShifts ? c.midAttentionGroups : c.groupsOf(channels);
  return AttentionBlock(layout, "mid_block.attentions.0", channels, c.headChannels(channels), groups, c.normEps,
                        c.midScale);
}

ResnetBlock middleResnet(ParameterLayout& layout, const char* name, const UNetConfig& c) {
  const int64_t channels = c.blockOutChannels.back();
  return {layout, name, channels, channels, c, Resampling::none, c.midScale};
}

}  // namespace

MiddleBlock::MiddleBlock(ParameterLayout& layout, const UNetConfig& c)
    : attention(middleAttention(layout, c)),
      first(middleResnet(layout, "mid_block.resnets.0", c)),
      second(middleResnet(layout, "mid_block.resnets.1", c)) {}

void MiddleBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  f.x = first(w, f.x, condition);
  if (attention) f.x = (*attention)(w, f.x);
  f.x = second(w, f.x, condition);
}

UpBlock::UpBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c)
    : attentions(attentionsFor(layout, place, static_cast<size_t>(c.layersPerBlock) + 1, c)),
      resnets(resnetsFor(layout, place, inputsUp(place, c), c)) {
  if (place.isLast) return;
  const std::string name = place.name + ".upsamplers.0";
  if (resamplesByResnet(place, c.upsampleByResnet)) {
    resample.emplace<ResnetBlock>(layout, name, place.out, place.out, c, Resampling::nearest);
  } else {
    resample.emplace<Conv2d>(layout, name + ".conv", place.out, place.out, 3);
  }
}

void UpBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    f.x = resnets[i](w, {f.x, f.takeKept()}, condition);
    if (!attentions.empty()) f.x = attentions[i](w, f.x);
  }
  if (const auto* const conv = std::get_if<Conv2d>(&resample)) {
    f.x = (*conv)(w, upsample(f.x));
  } else if (const auto* const resnet = std::get_if<ResnetBlock>(&resample)) {
    f.x = (*resnet)(w, f.x, condition);
  }
}

}  // namespace continual
