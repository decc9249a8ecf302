#include "nn/k_blocks.h"

namespace continual {

namespace {

/// Channels of a group.
constexpr int64_t groupSize = 32;
/// Of the norms of attention blocks, whatever the network's is.
constexpr double attentionEps = 1e-5;

}  // namespace

AdaptiveResnetBlock::AdaptiveResnetBlock(ParameterLayout& layout, const std::string& name, const Shape& s,
                                         const UNetConfig& c)
    : norm1(layout, name + ".norm1", s.in, s.groupsIn, c.normEps, c.timeChannels()),
      conv1(layout, name + ".conv1", s.in, s.middle, 3),
      norm2(layout, name + ".norm2", s.middle, s.groupsMiddle, c.normEps, c.timeChannels()),
      conv2(layout, name + ".conv2", s.middle, s.end, 3),
      activation(c.activation) {
  if (s.in != s.end) shortcut.emplace(layout, name + ".conv_shortcut", s.in, s.end, 1, 1, /*hasBias=*/false);
}

at::Tensor AdaptiveResnetBlock::operator()(const Weights& w, const Joined& x, const Condition& condition) const {
  const at::Tensor before = activated(norm1(w, x, condition.embedding), activation);
  const at::Tensor h = activated(norm2(w, conv1(w, before), condition.embedding), activation);
  return conv2(w, condition.dropout(h, conv2.weight), {.image = shortcut ? (*shortcut)(w, x) : x.whole()});
}

namespace {

AdaptiveAttentionBlock::Part partOf(ParameterLayout& layout, const std::string& name, const char* number,
                                    int64_t channels, int64_t headChannels, const UNetConfig& c) {
  const int64_t groups = std::max<int64_t>(channels / groupSize, 1);
  return {{layout, name + ".norm" + number, channels, groups, attentionEps, c.timeChannels()},
          {layout, name + ".attn" + number, channels, headChannels}};
}

}  // namespace

AdaptiveAttentionBlock::AdaptiveAttentionBlock(ParameterLayout& layout, const std::string& name, int64_t channels,
                                               int64_t headChannels, bool twice, const UNetConfig& c) {
  if (twice) first = partOf(layout, name, "1", channels, headChannels, c);
  second = partOf(layout, name, "2", channels, headChannels, c);
  // Of text, which a network without text has no use for; diffusers stores it.
  layout.add(name + ".attn2.norm_cross.weight", {channels}, {Initial::Kind::constant, 1});
  layout.add(name + ".attn2.norm_cross.bias", {channels}, {Initial::Kind::constant, 0});
}

at::Tensor AdaptiveAttentionBlock::Part::operator()(const Weights& w, const at::Tensor& x,
                                                    const at::Tensor& embedding) const {
  return imagesOf(attention(w, tokensOf(norm(w, x, embedding))), x) + x;
}

at::Tensor AdaptiveAttentionBlock::operator()(const Weights& w, const at::Tensor& x, const Condition& condition) const {
  return (*second)(w, first ? (*first)(w, x, condition.embedding) : x, condition.embedding);
}

KDownBlock::KDownBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c)
    : keeps(place.kind == BlockKind::k || !place.isLast), halves(!place.isLast) {
  const std::vector<int64_t> inputs = inputsDown(place, c);
  for (size_t i = 0; i < inputs.size(); ++i) {
    const std::string number = std::to_string(i);
    resnets.emplace_back(
        layout, place.name + ".resnets." + number,
        AdaptiveResnetBlock::Shape{inputs[i], place.out, place.out, inputs[i] / groupSize, place.out / groupSize}, c);
    if (place.kind != BlockKind::kAttention) continue;
    attentions.emplace_back(layout, place.name + ".attentions." + number, place.out, c.headChannels(place.out),
                            /*twice=*/place.isLast, c);
  }
}

void KDownBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  for (size_t i = 0; i < resnets.size(); ++i) {
    f.x = resnets[i](w, f.x, condition);
    if (!attentions.empty()) f.x = attentions[i](w, f.x, condition);
    f.kept.push_back(keeps ? f.x : at::Tensor());
  }
  if (halves) f.x = filteredDown(f.x, /*reflects=*/true);
}

KUpBlock::KUpBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c) : doubles(!place.isLast) {
  const bool attends = place.kind == BlockKind::kAttention;
  // Of the lowest level that keeps nothing, by whose sizes diffusers knows it.
  const bool isFirst = attends && place.in == place.out && place.out == c.timeChannels();
  for (int64_t i = 0; i < c.layersPerBlock; ++i) {
    const std::string number = std::to_string(i);
    const bool isEnd = i + 1 == c.layersPerBlock;
    const int64_t in = i > 0 || isFirst ? place.out : 2 * place.out, end = isEnd ? place.in : place.out;
    resnets.emplace_back(
        layout, place.name + ".resnets." + number,
        AdaptiveResnetBlock::Shape{in, attends ? place.out : end, end, in / groupSize, place.out / groupSize}, c);
    if (!attends) continue;
    attentions.emplace_back(layout, place.name + ".attentions." + number, end, c.headChannels(place.out), isFirst, c);
  }
}

void KUpBlock::operator()(const Weights& w, Features& f, const Condition& condition) const {
  at::Tensor kept = resnets.empty() ? at::Tensor() : f.takeKept();
  for (size_t i = 1; i < resnets.size(); ++i) f.takeKept();
  for (size_t i = 0; i < resnets.size(); ++i) {
    f.x = i == 0 && kept.defined() ? resnets[i](w, {f.x, kept}, condition) : resnets[i](w, f.x, condition);
    if (!attentions.empty()) f.x = attentions[i](w, f.x, condition);
  }
  if (doubles) f.x = filteredUp(f.x, /*reflects=*/true);
}

}  // namespace continual
