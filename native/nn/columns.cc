// Convolutions of 3 × 3 as matrix products, for what oneDNN's bf16 convolutions are slow at.

#include "nn/functions.h"
#include "nn/own_kernels.h"

namespace continual {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

// Each pixel's 3 × 3 neighbourhood in a row, with all channels (im2col): N·H·W × 9·C.
at::Tensor neighbourhoods(const at::Tensor& x) {
  const int64_t images = x.size(0), channels = x.size(1), height = x.size(2), width = x.size(3);
  const at::Tensor framed = at::constant_pad_nd(x.permute({0, 2, 3, 1}), {0, 0, 1, 1, 1, 1});
  std::vector<at::Tensor> taps;
  for (int64_t tap = 0; tap < 9; ++tap) {
    taps.push_back(framed.narrow(1, tap / 3, height).narrow(2, tap % 3, width));
  }
  return at::cat(taps, -1).view({images * height * width, 9 * channels});
}

// Its adjoint: what a pixel is in each of the neighbourhoods that it belongs to, summed.
at::Tensor sumOverNeighbourhoods(const at::Tensor& rows, at::IntArrayRef sizes) {
  const int64_t channels = sizes[1], height = sizes[2], width = sizes[3];
  const at::Tensor framed = at::constant_pad_nd(rows.view({sizes[0], height, width, 9 * channels}), {0, 0, 1, 1, 1, 1});
  std::vector<at::Tensor> taps;
  for (int64_t tap = 0; tap < 9; ++tap) {
    taps.push_back(
        framed.narrow(1, 2 - tap / 3, height).narrow(2, 2 - tap % 3, width).narrow(3, tap * channels, channels));
  }
  return at::stack(taps).sum(0).permute({0, 3, 1, 2});
}

class ColumnsConvolution : public Function<ColumnsConvolution> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const at::Tensor& weight,
                            const at::Tensor& bias) {
    if (context != nullptr) context->save_for_backward({x, weight});
    return at::linear(neighbourhoods(x), rows(weight), bias)
        .view({x.size(0), x.size(2), x.size(3), weight.size(0)})
        .permute({0, 3, 1, 2});
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &x = saved[0], &weight = saved[1];
    const int64_t in = weight.size(1), out = weight.size(0);
    const at::Tensor dy = gradients[0].permute({0, 2, 3, 1}).reshape({-1, out});
    at::Tensor dx;
    if (context->needs_input_grad(0)) dx = sumOverNeighbourhoods(at::mm(dy, rows(weight)), x.sizes());
    const at::Tensor dw = at::mm(dy.t(), neighbourhoods(x)).view({out, 3, 3, in}).permute({0, 3, 1, 2});
    return {dx, dw, dy.sum(0)};
  }

 private:
  static at::Tensor rows(const at::Tensor& weight) { return weight.permute({0, 2, 3, 1}).flatten(1); }
};

}  // namespace

at::Tensor convolutionByColumns(const at::Tensor& x, const at::Tensor& weight, const at::Tensor& bias) {
  return applied<ColumnsConvolution>(x, weight, bias);
}

}  // namespace continual
