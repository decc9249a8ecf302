#include "nn/attention_block.h"

#include "runtime/error.h"

namespace continual {

namespace {

int64_t attended(const std::string& name, int64_t channels, int64_t headChannels) {
  if (headChannels < 1 || headChannels > channels) {
    throw Error("ERR_INVALID_ARGUMENT", "unet: " + name + " has heads of " + std::to_string(headChannels) +
                                            " channels; expected 1 … " + std::to_string(channels));
  }
  return channels / headChannels * headChannels;
}

std::optional<GroupNorm> normFor(ParameterLayout& layout, const std::string& name, int64_t channels,
                                 std::optional<int64_t> groups, double eps) {
  if (!groups) return std::nullopt;
  return GroupNorm(layout, name + ".group_norm", channels, *groups, eps);
}

}  // namespace

SelfAttention::SelfAttention(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t headChannels)
    : query(layout, name + ".to_q", channels, attended(name, channels, headChannels)),
      key(layout, name + ".to_k", channels, attended(name, channels, headChannels)),
      value(layout, name + ".to_v", channels, attended(name, channels, headChannels)),
      out(layout, name + ".to_out.0", attended(name, channels, headChannels), channels),
      heads(channels / headChannels) {}

at::Tensor SelfAttention::operator()(const Weights& w, const at::Tensor& tokens) const {
  return out(w, attention(query(w, tokens), key(w, tokens), value(w, tokens), heads));
}

at::Tensor tokensOf(const at::Tensor& x) { return x.flatten(2).transpose(1, 2); }

at::Tensor imagesOf(const at::Tensor& tokens, const at::Tensor& like) {
  return tokens.transpose(1, 2).reshape_as(like);
}

AttentionBlock::AttentionBlock(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t headChannels,
                               std::optional<int64_t> groups, double eps, double divisor_)
    : norm(normFor(layout, name, channels, groups, eps)),
      attention(layout, name, channels, headChannels),
      divisor(divisor_) {}

at::Tensor AttentionBlock::operator()(const Weights& w, const at::Tensor& x) const {
  const at::Tensor sum = x + imagesOf(attention(w, tokensOf(norm ? (*norm)(w, x) : x)), x);
  return divisor == 1 ? sum : sum / divisor;
}

}  // namespace continual
