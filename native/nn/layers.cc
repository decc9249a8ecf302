#include "nn/layers.h"

#include <cmath>

namespace continual {

// PyTorch's default initialisation of convolutions and linear layers: U(−1/√fan_in, 1/√fan_in), weights and biases.

Conv2d::Conv2d(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out, int64_t kernel,
               int64_t stride_)
    : stride(stride_) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in * kernel * kernel));
  weight = layout.add(name + ".weight", {out, in, kernel, kernel}, bound);
  bias = layout.add(name + ".bias", {out}, bound);
}

at::Tensor Conv2d::operator()(const Weights& w, const Joined& x, const Summands& plus) const {
  return convolution(x, w[weight], w[bias], stride, plus);
}

Linear::Linear(ParameterLayout& layout, const std::string& name, int64_t in, int64_t out) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(in));
  weight = layout.add(name + ".weight", {out, in}, bound);
  bias = layout.add(name + ".bias", {out}, bound);
}

at::Tensor Linear::operator()(const Weights& w, const at::Tensor& x) const { return linear(x, w[weight], w[bias]); }

GroupNorm::GroupNorm(ParameterLayout& layout, const std::string& name, int64_t channels, int64_t groups_, double eps_)
    : groups(groups_), eps(eps_) {
  weight = layout.add(name + ".weight", {channels}, 0, 1);
  bias = layout.add(name + ".bias", {channels}, 0, 0);
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
