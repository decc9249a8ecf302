#include "nn/layers.h"

#include <cmath>

#include "runtime/error.h"

namespace continual {

// PyTorch's default initialisation of convolutions and linear layers: U(−1/√fan_in, 1/√fan_in), weights and biases; of
// embeddings: N(0, 1).

Conv2d::Conv2d(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, int64_t kernel,
               int64_t stride_, bool hasBias)
    : bias(-1), stride(stride_) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in * kernel * kernel));
  weight = layout.add(name + ".weight", {out, in, kernel, kernel}, {Initial::Kind::uniform, bound});
  if (hasBias) bias = layout.add(name + ".bias", {out}, {Initial::Kind::uniform, bound});
}

at::Tensor Conv2d::operator()(const Weights& w, const Joined& x, const Summands& plus) const {
  const at::Tensor& kernel = w[weight];
  return convolution(x, kernel, bias < 0 ? at::zeros({kernel.size(0)}, kernel.options()) : w[bias], stride, plus);
}

Linear::Linear(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  weight = layout.add(name + ".weight", {out, in}, {Initial::Kind::uniform, bound});
  bias = layout.add(name + ".bias", {out}, {Initial::Kind::uniform, bound});
}

at::Tensor Linear::operator()(const Weights& w, const at::Tensor& x) const { return linear(x, w[weight], w[bias]); }

Embedding::Embedding(ParameterLayout& layout, const std::string& name, int64_t rows_, int64_t width) : rows(rows_) {
  weight = layout.add(name + ".weight", {rows_, width}, {Initial::Kind::normal, 1});
}

at::Tensor Embedding::operator()(const Weights& w, const at::Tensor& labels) const {
  // As a product: its gradient is deterministic, and a CUDA graph can hold it.
  const at::Tensor oneHot = labels.unsqueeze(1) == at::arange(rows, labels.options());
  return oneHot.to(w[weight].scalar_type()).matmul(w[weight]);
}

namespace {

void requireGroups(const std::string& name, int64_t channels, int64_t groups) {
  if (groups >= 1 && channels % groups == 0) return;
  throw Error("ERR_INVALID_ARGUMENT", "unet: " + name + " has " + std::to_string(channels) +
                                          " channels; expected a multiple of its groups, " + std::to_string(groups));
}

}  // namespace

GroupNorm::GroupNorm(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t groups_, double eps_)
    : groups(groups_), eps(eps_) {
  requireGroups(name, channels, groups_);
  weight = layout.add(name + ".weight", {channels}, {Initial::Kind::constant, 1});
  bias = layout.add(name + ".bias", {channels}, {Initial::Kind::constant, 0});
}

at::Tensor GroupNorm::operator()(const Weights& w, const Joined& x) const {
  return groupNorm(x, groups, w[weight], w[bias], eps, /*silu=*/false);
}

at::Tensor GroupNorm::activated(const Weights& w, const Joined& x, Activation activation) const {
  if (activation == Activation::silu) return groupNorm(x, groups, w[weight], w[bias], eps, /*silu=*/true);
  return continual::activated((*this)(w, x), activation);
}

AdaptiveGroupNorm::AdaptiveGroupNorm(ParameterLayout& layout, const std::string& name, int64_t channels_,
                                     int64_t groups_, double eps_, int64_t embeddingWidth)
    : projection(layout, name + ".linear", embeddingWidth, 2 * channels_),
      channels(channels_),
      groups(groups_),
      eps(eps_) {
  requireGroups(name, channels_, groups_);
}

at::Tensor AdaptiveGroupNorm::operator()(const Weights& w, const Joined& x, const at::Tensor& embedding) const {
  const at::TensorOptions options = w[projection.weight].options();
  const at::Tensor normed =
      groupNorm(x, groups, at::ones({channels}, options), at::zeros({channels}, options), eps, /*silu=*/false);
  return scaledAndShifted(normed, projection(w, embedding));
}

at::Tensor scaledAndShifted(const at::Tensor& x, const at::Tensor& scaleAndShift) {
  const std::vector<at::Tensor> both = scaleAndShift.unsqueeze(-1).unsqueeze(-1).chunk(2, 1);
  return x * (1 + both[0]) + both[1];
}

at::Tensor convolutionNormSilu(const Weights& w, const Conv2d& conv, const GroupNorm& norm, const at::Tensor& x,
                               const at::Tensor& perImage) {
  return convolutionNormSilu(x, w[conv.weight], w[conv.bias], perImage, norm.groups, w[norm.weight], w[norm.bias],
                             norm.eps);
}

}  // namespace continual
