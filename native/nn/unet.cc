#include "nn/unet.h"

#include <algorithm>

namespace continual {

namespace {

/// A block of the kind of its place.
template <class Plain, class Skip, class K>
std::variant<Plain, Skip, K> makeBlock(ParameterLayout& layout, const BlockPlace& place, const UNetConfig& c) {
  switch (place.kind) {
    case BlockKind::skip:
    case BlockKind::attentionSkip:
      return Skip(layout, place, c);
    case BlockKind::k:
    case BlockKind::kAttention:
      return K(layout, place, c);
    case BlockKind::plain:
    case BlockKind::attention:
    case BlockKind::resnet:
      break;
  }
  return Plain(layout, place, c);
}

auto makeDown(ParameterLayout& layout, const UNetConfig& c) {
  std::vector<AnyDownBlock> blocks;
  const auto& channels = c.blockOutChannels;
  for (size_t level = 0; level < channels.size(); ++level) {
    const BlockPlace place{"down_blocks." + std::to_string(level), c.down[level], channels[level == 0 ? 0 : level - 1],
                           channels[level], level + 1 == channels.size()};
    blocks.push_back(makeBlock<DownBlock, SkipDownBlock, KDownBlock>(layout, place, c));
  }
  return blocks;
}

std::optional<MiddleBlock> makeMiddle(ParameterLayout& layout, const UNetConfig& c) {
  if (!c.middle) return std::nullopt;
  return MiddleBlock(layout, c);
}

auto makeUp(ParameterLayout& layout, const UNetConfig& c) {
  std::vector<AnyUpBlock> blocks;
  const std::vector<int64_t> channels(c.blockOutChannels.rbegin(), c.blockOutChannels.rend());
  for (size_t level = 0; level < channels.size(); ++level) {
    const BlockPlace place{"up_blocks." + std::to_string(level),
                           c.up[level],
                           channels[std::min(level + 1, channels.size() - 1)],
                           channels[level],
                           level + 1 == channels.size(),
                           channels[level == 0 ? 0 : level - 1]};
    blocks.push_back(makeBlock<UpBlock, SkipUpBlock, KUpBlock>(layout, place, c));
  }
  return blocks;
}

}  // namespace

UNet::UNet(const UNetConfig& c, at::MemoryFormat memoryFormat)
    : config_(c),
      memoryFormat_(memoryFormat),
      layout_(memoryFormat),
      convIn_(layout_, "conv_in", c.inChannels, c.blockOutChannels.front(), 3),
      embedding_(layout_, c),
      down_(makeDown(layout_, c)),
      middle_(makeMiddle(layout_, c)),
      up_(makeUp(layout_, c)),
      normOut_(layout_, "conv_norm_out", c.blockOutChannels.front(), c.groupsOf(c.blockOutChannels.front()), c.normEps),
      convOut_(layout_, "conv_out", c.blockOutChannels.front(), c.outChannels, 3) {
  embedding_.addLast(layout_, c);
}

at::Tensor UNet::operator()(const Weights& w, const ModelInput& input) const {
  const at::Tensor embedding = embedding_(w, input);
  // Every residual block projects its activation, so it is taken once.
  const Condition condition{embedding, activated(embedding, config_.activation), {input.dropoutKeys, config_.dropout}};
  const at::Tensor images = config_.centersInput ? 2 * input.xt - 1 : input.xt;

  const at::Tensor first = convIn_(w, images.contiguous(memoryFormat_));
  Features f{first, {first}, images};
  const auto through = [&](const auto& blocks) {
    for (const auto& block : blocks) {
      std::visit([&](const auto& kind) { kind(w, f, condition); }, block);
    }
  };
  through(down_);
  if (middle_) (*middle_)(w, f, condition);
  f.skip = at::Tensor();
  through(up_);
  at::Tensor prediction = convOut_(w, normOut_.activated(w, f.x, Activation::silu));
  if (f.skip.defined()) prediction = prediction + f.skip;
  if (config_.timeEmbedding != TimeEmbedding::fourier) return prediction;
  return prediction / input.timesteps.view({-1, 1, 1, 1}).to(at::kFloat);
}

}  // namespace continual
