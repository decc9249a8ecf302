#include "nn/layers.h"

#include <cmath>

namespace continual {

// PyTorch's default initialisation of convolutions and linear layers: U(−1/√fan_in, 1/√fan_in), weights and biases; of
// embeddings: N(0, 1).

Conv2d::Conv2d(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, int64_t kernel,
               int64_t stride_)
    : stride(stride_) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in * kernel * kernel));
  weight = layout.add(name + ".weight", {out, in, kernel, kernel}, {Initial::Kind::uniform, bound});
  bias = layout.add(name + ".bias", {out}, {Initial::Kind::uniform, bound});
}

at::Tensor Conv2d::operator()(const Weights& w, const Joined& x, const Summands& plus) const {
  return convolution(x, w[weight], w[bias], stride, plus);
}

Linear::Linear(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  weight = layout.add(name + ".weight", {out, in}, {Initial::Kind::uniform, bound});
  bias = layout.add(name + ".bias", {out}, {Initial::Kind::uniform, bound});
}

at::Tensor Linear::operator()(const Weights& w, const at::Tensor& x) const { return linear(x, w[weight], w[bias]); }

Embedding::Embedding(ParameterLayout& layout, const std::string& name, int64_t rows_, int64_t width) : rows(rows_) {
  weight = layout.add(name + ".weight", {rows_, width}, {Initial::Kind::normal});
}

at::Tensor Embedding::operator()(const Weights& w, const at::Tensor& labels) const {
  // As a product: its gradient is deterministic, and a CUDA graph can hold it.
  const at::Tensor oneHot = labels.unsqueeze(1) == at::arange(rows, labels.options());
  return oneHot.to(w[weight].scalar_type()).matmul(w[weight]);
}

GroupNorm::GroupNorm(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t groups_, double eps_)
    : groups(groups_), eps(eps_) {
  weight = layout.add(name + ".weight", {channels}, {Initial::Kind::constant, 1});
  bias = layout.add(name + ".bias", {channels}, {Initial::Kind::constant, 0});
}

at::Tensor GroupNorm::operator()(const Weights& w, const at::Tensor& x) const {
  return groupNorm(x, groups, w[weight], w[bias], eps, /*silu=*/false);
}

at::Tensor GroupNorm::silu(const Weights& w, const Joined& x) const {
  return groupNorm(x, groups, w[weight], w[bias], eps, /*silu=*/true);
}

at::Tensor convolutionNormSilu(const Weights& w, const Conv2d& conv, const GroupNorm& norm, const at::Tensor& x,
                               const at::Tensor& perImage) {
  return convolutionNormSilu(x, w[conv.weight], w[conv.bias], perImage, norm.groups, w[norm.weight], w[norm.bias],
                             norm.eps);
}

}  // namespace continual
