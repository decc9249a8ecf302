#include "nn/skip_blocks.h"

#include <algorithm>
#include <numbers>

namespace continual {

namespace {

constexpr double skipDivisor = std::numbers::sqrt2;
constexpr int64_t skipChannels = 3, skipAttentionGroups = 32;

ResnetShape skipResnet(int64_t in, int64_t out) {
  return {in, out, UNetConfig::quarterGroups(in), UNetConfig::quarterGroups(out), skipDivisor};
}

ResnetBlock resamplingResnet(ParameterLayout& layout, const std::string& name, int64_t channels, Resampling how,
                             const UNetConfig& c) {
  ResnetShape shape = skipResnet(channels, channels);
  shape.resampling = how;
  shape.alwaysProjects = true;
  return {layout, name, shape, c};
}

AttentionBlock skipAttentionFor(ParameterLayout& layout, const BlockPlace& place, int64_t i, const UNetConfig& c) {
  return {layout,
          place.name + ".attentions." + std::to_string(i),
          place.out,
          c.headChannels(place.out),
          skipAttentionGroups,
          c.normEps,
          skipDivisor};
}

}  // namespace

SkipDownBlock::SkipDownBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c) {
  for (int64_t i = 0; place.kind == BlockKind::attentionSkip && i < c.layersPerBlock; ++i) {
    attentions.push_back(skipAttentionFor(layout, place, i, c));
  }
  const std::vector<int64_t> inputs = inputsDown(place, c);
  for (size_t i = 0; i < inputs.size(); ++i) {
    resnets.emplace_back(layout, place.name + ".resnets." + std::to_string(i), skipResnet(inputs[i], place.out), c);
  }
  if (place.isLast) return;
  halving = {resamplingResnet(layout, place.name + ".resnet_down", place.out, Resampling::filterDown, c),
             {layout, place.name + ".skip_conv", skipChannels, place.out, 1}};
}

void SkipDownBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    f.x = resnets[i](w, f.x, condition);
    if (!attentions.empty()) f.x = attentions[i](w, f.x);
    f.kept.push_back(f.x);
  }
  if (!halving) return;
  f.skip = filteredDown(f.skip, /*reflects=*/false);
  f.kept.push_back(f.x = halving->skip(w, f.skip) + halving->resnet(w, f.x, condition));
}

SkipUpBlock::SkipUpBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c) {
  if (place.kind == BlockKind::attentionSkip) attention = skipAttentionFor(layout, place, 0, c);
  const std::vector<int64_t> inputs = inputsUp(place, c);
  for (size_t i = 0; i < inputs.size(); ++i) {
    ResnetShape shape = skipResnet(inputs[i], place.out);
    const int64_t kept = i + 1 == inputs.size() ? place.in : place.out;
    // As diffusers has it: its blocks with attention take a quarter of the kept channels alone.
    if (attention) shape.groupsIn = std::min<int64_t>(inputs[i] - kept + kept / 4, 32);
    resnets.emplace_back(layout, place.name + ".resnets." + std::to_string(i), shape, c);
  }
  if (place.isLast) return;
  doubling = {resamplingResnet(layout, place.name + ".resnet_up", place.out, Resampling::filterUp, c),
              {layout, place.name + ".skip_conv", place.out, skipChannels, 3},
              {layout, place.name + ".skip_norm", place.out, UNetConfig::quarterGroups(place.out), c.normEps}};
}

void SkipUpBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  for (const ResnetBlock& resnet : resnets) f.x = resnet(w, {f.x, f.takeKept()}, condition);
  if (attention) f.x = (*attention)(w, f.x);
  if (f.skip.defined()) f.skip = filteredUp(f.skip, /*reflects=*/false);
  if (!doubling) return;
  const at::Tensor share = doubling->skip(w, doubling->skipNorm.activated(w, f.x, Activation::silu));
  f.skip = f.skip.defined() ? f.skip + share : share;
  f.x = doubling->resnet(w, f.x, condition);
}

}  // namespace continual
