#include "nn/classifier.h"

namespace continual {

namespace {

constexpr int64_t widths[] = {32, 32, 64, 64, ClassifierNet::features};

std::vector<Conv2d> makeConvolutions(ParameterLayout& layout, int64_t channels) {
  std::vector<Conv2d> result;
  int64_t in = channels;
  for (size_t i = 0; i < std::size(widths); ++i) {
    result.emplace_back(layout, "conv" + std::to_string(i + 1), in, widths[i], 3);
    in = widths[i];
  }
  return result;
}

std::vector<GroupNorm> makeNorms(ParameterLayout& layout) {
  std::vector<GroupNorm> result;
  for (size_t i = 0; i < std::size(widths); ++i) {
    result.emplace_back(layout, "norm" + std::to_string(i + 1), widths[i], 8, 1e-5);
  }
  return result;
}

}  // namespace

ClassifierNet::ClassifierNet(int64_t channels, int64_t classes, at::MemoryFormat memoryFormat)
    : memoryFormat_(memoryFormat),
      layout_(memoryFormat),
      convolutions_(makeConvolutions(layout_, channels)),
      norms_(makeNorms(layout_)),
      out_(layout_, "out", features, classes) {}

ClassifierNet::Output ClassifierNet::operator()(const Weights& w, const at::Tensor& input,
                                                const at::Tensor& keep) const {
  at::Tensor x = input.contiguous(memoryFormat_);
  for (size_t i = 0; i < convolutions_.size(); ++i) {
    x = norms_[i].activated(w, convolutions_[i](w, x), Activation::silu);
    if (i == 1 || i == 3) x = at::max_pool2d(x, 2);
  }
  const at::Tensor averaged = x.mean({2, 3});
  return {averaged, out_(w, keep.defined() ? averaged * keep : averaged)};
}

}  // namespace continual
