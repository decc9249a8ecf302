#include "nn/unet.h"

#include <algorithm>
#include <cmath>

#include "runtime/error.h"

namespace continual {

ResnetBlock::ResnetBlock(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, const UNetConfig& c)
    : norm1(layout, name + ".norm1", in, c.normNumGroups, c.normEps),
      conv1(layout, name + ".conv1", in, out, 3),
      timeProjection(layout, name + ".time_emb_proj", c.timeChannels(), out),
      norm2(layout, name + ".norm2", out, c.normNumGroups, c.normEps),
      conv2(layout, name + ".conv2", out, out, 3) {
  if (in != out) shortcut.emplace(layout, name + ".conv_shortcut", in, out, 1);
}

at::Tensor ResnetBlock::operator()(const Weights& w, const Joined& x, const at::Tensor& time) const {
  const at::Tensor h = convolutionNormSilu(w, conv1, norm2, norm1.silu(w, x), timeProjection(w, time));
  return conv2(w, h, {.image = shortcut ? (*shortcut)(w, x) : x.whole()});
}

namespace {

int64_t headsOf(int64_t channels, const UNetConfig& c) {
  return c.attentionHeadDim == 0 ? 1 : std::max<int64_t>(channels / c.attentionHeadDim, 1);
}

/// Channels of queries, keys and values: as in diffusers fewer than the block's where its heads don't come out even.
int64_t attended(int64_t channels, const UNetConfig& c) {
  return c.attentionHeadDim == 0 ? channels : headsOf(channels, c) * std::min(channels, c.attentionHeadDim);
}

}  // namespace

AttentionBlock::AttentionBlock(ParameterLayout& layout, const std::string& name, int64_t channels, const UNetConfig& c)
    : norm(layout, name + ".group_norm", channels, c.normNumGroups, c.normEps),
      query(layout, name + ".to_q", channels, attended(channels, c)),
      key(layout, name + ".to_k", channels, attended(channels, c)),
      value(layout, name + ".to_v", channels, attended(channels, c)),
      out(layout, name + ".to_out.0", attended(channels, c), channels),
      heads(headsOf(channels, c)) {}

at::Tensor AttentionBlock::operator()(const Weights& w, const at::Tensor& x) const {
  const at::Tensor sequence = norm(w, x).flatten(2).transpose(1, 2);  // N × tokens × C
  const at::Tensor mixed = attention(query(w, sequence), key(w, sequence), value(w, sequence), heads);
  return x + out(w, mixed).transpose(1, 2).reshape_as(x);
}

namespace {

UNetBlock makeBlock(ParameterLayout& layout, const std::string& name, const std::vector<int64_t>& inputs, int64_t out,
                    size_t attentions, const UNetConfig& c) {
  UNetBlock block;
  for (size_t i = 0; i < attentions; ++i) {
    block.attentions.emplace_back(layout, name + ".attentions." + std::to_string(i), out, c);
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    block.resnets.emplace_back(layout, name + ".resnets." + std::to_string(i), inputs[i], out, c);
  }
  return block;
}

std::vector<UNetBlock> makeDown(ParameterLayout& layout, const UNetConfig& c) {
  std::vector<UNetBlock> blocks;
  const auto& channels = c.blockOutChannels;
  for (size_t level = 0; level < channels.size(); ++level) {
    const std::string name = "down_blocks." + std::to_string(level);
    std::vector<int64_t> inputs(static_cast<size_t>(c.layersPerBlock), channels[level]);
    inputs.front() = channels[level == 0 ? 0 : level - 1];
    blocks.push_back(makeBlock(layout, name, inputs, channels[level], c.downAttention[level] ? inputs.size() : 0, c));
    if (level + 1 < channels.size()) {
      blocks.back().resample.emplace(layout, name + ".downsamplers.0.conv", channels[level], channels[level], 3, 2);
    }
  }
  return blocks;
}

UNetBlock makeMiddle(ParameterLayout& layout, const UNetConfig& c) {
  const int64_t channels = c.blockOutChannels.back();
  return makeBlock(layout, "mid_block", {channels, channels}, channels, c.midAttention ? 1 : 0, c);
}

// Each residual block on the way up also takes one feature map of the way down: what the levels kept, last first.
std::vector<UNetBlock> makeUp(ParameterLayout& layout, const UNetConfig& c) {
  std::vector<UNetBlock> blocks;
  const std::vector<int64_t> channels(c.blockOutChannels.rbegin(), c.blockOutChannels.rend());
  for (size_t level = 0; level < channels.size(); ++level) {
    const std::string name = "up_blocks." + std::to_string(level);
    const int64_t below = channels[level == 0 ? 0 : level - 1];
    const int64_t above = channels[std::min(level + 1, channels.size() - 1)];
    std::vector<int64_t> inputs;
    for (int64_t i = 0; i <= c.layersPerBlock; ++i) {
      const int64_t kept = i == c.layersPerBlock ? above : channels[level];
      inputs.push_back((i == 0 ? below : channels[level]) + kept);
    }
    blocks.push_back(makeBlock(layout, name, inputs, channels[level], c.upAttention[level] ? inputs.size() : 0, c));
    if (level + 1 < channels.size()) {
      blocks.back().resample.emplace(layout, name + ".upsamplers.0.conv", channels[level], channels[level], 3);
    }
  }
  return blocks;
}

}  // namespace

UNet::UNet(const UNetConfig& c, at::MemoryFormat memoryFormat)
    : config_(c),
      memoryFormat_(memoryFormat),
      layout_(memoryFormat),
      convIn_(layout_, "conv_in", c.inChannels, c.blockOutChannels.front(), 3),
      time1_(layout_, "time_embedding.linear_1", c.blockOutChannels.front(), c.timeChannels()),
      time2_(layout_, "time_embedding.linear_2", c.timeChannels(), c.timeChannels()),
      down_(makeDown(layout_, c)),
      middle_(makeMiddle(layout_, c)),
      up_(makeUp(layout_, c)),
      normOut_(layout_, "conv_norm_out", c.blockOutChannels.front(), c.normNumGroups, c.normEps),
      convOut_(layout_, "conv_out", c.blockOutChannels.front(), c.outChannels, 3) {
  const int64_t width = c.timeChannels();
  if (c.classEmbedding == ClassEmbedding::table) classTable_.emplace(layout_, "class_embedding", c.classRows, width);
  if (c.classEmbedding == ClassEmbedding::timestep) {
    class1_.emplace(layout_, "class_embedding.linear_1", c.blockOutChannels.front(), width);
    class2_.emplace(layout_, "class_embedding.linear_2", width, width);
  }
}

at::Tensor UNet::sinusoids(const at::Tensor& timesteps, at::ScalarType dtype) const {
  const int64_t half = config_.blockOutChannels.front() / 2;
  const double scale = -std::log(10000.0) / (static_cast<double>(half) - config_.freqShift);
  const at::Tensor frequencies = at::exp(at::arange(half, timesteps.options().dtype(at::kFloat)) * scale);
  const at::Tensor angles = timesteps.to(at::kFloat).unsqueeze(1) * frequencies;
  const at::Tensor sines = at::sin(angles), cosines = at::cos(angles);
  return (config_.flipSinToCos ? at::cat({cosines, sines}, 1) : at::cat({sines, cosines}, 1)).to(dtype);
}

at::Tensor UNet::embedding(const Weights& w, const ModelInput& input) const {
  const at::ScalarType dtype = input.xt.scalar_type();
  const at::Tensor time = time2_(w, at::silu(time1_(w, sinusoids(input.timesteps, dtype))));
  if (!isConditional()) return time;
  if (!input.labels.defined()) throw Error("ERR_INVALID_ARGUMENT", "the network takes a label for each image");
  if (classTable_) return time + (*classTable_)(w, input.labels);
  if (class1_) return time + (*class2_)(w, at::silu((*class1_)(w, sinusoids(input.labels, dtype))));
  return time + input.labels.to(dtype);
}

at::Tensor UNet::operator()(const Weights& w, const ModelInput& input) const {
  // Every residual block projects silu(embedding), so it is taken once.
  const at::Tensor time = at::silu(embedding(w, input));

  at::Tensor x = convIn_(w, input.xt.contiguous(memoryFormat_));
  std::vector<at::Tensor> kept{x};
  for (const UNetBlock& block : down_) {
    for (size_t i = 0; i < block.resnets.size(); ++i) {
      x = block.resnets[i](w, x, time);
      if (!block.attentions.empty()) x = block.attentions[i](w, x);
      kept.push_back(x);
    }
    if (block.resample) kept.push_back(x = (*block.resample)(w, x));
  }

  x = middle_.resnets[0](w, x, time);
  if (!middle_.attentions.empty()) x = middle_.attentions[0](w, x);
  x = middle_.resnets[1](w, x, time);

  for (const UNetBlock& block : up_) {
    for (size_t i = 0; i < block.resnets.size(); ++i) {
      x = block.resnets[i](w, {x, kept.back()}, time);
      kept.pop_back();
      if (!block.attentions.empty()) x = block.attentions[i](w, x);
    }
    if (block.resample) x = (*block.resample)(w, upsample(x));
  }
  return convOut_(w, normOut_.silu(w, x));
}

}  // namespace continual
