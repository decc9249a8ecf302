#include <cmath>

#include "nn/cuda/functions.h"
#include "nn/functions.h"
#include "nn/own_kernels.h"

namespace continual {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Function;
using torch::autograd::variable_list;

bool ownAttention(const at::Tensor& q, int64_t heads) {
  return suitsOwnKernels(q) && q.size(2) == heads * headDim && q.size(2) % channelUnit == 0 &&
         withKernelsFor(q, [](const auto& kernels) { return kernels.attention != nullptr; });
}

double scoreScale(int64_t channels) { return 1.0 / std::sqrt(static_cast<double>(channels)); }

class Attention : public Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value) {
    const at::Tensor q = query.contiguous(), k = key.contiguous(), v = value.contiguous();
    const AttentionShape shape = shapeOf(q);
    const int64_t step = q.stride(0), blocks = (shape.tokens + channelUnit - 1) / channelUnit;
    const at::Tensor y = at::empty_like(q);
    const at::Tensor statistics =
        at::empty({q.size(0), shape.channels / headDim, blocks, 2, channelUnit}, q.options().dtype(at::kFloat));
    withKernelsFor(q, [&]<class T>(const KernelsFor<T>& kernels) {
      overImages(q.size(0), [&](int64_t first, int64_t count) {
        const int64_t at = first * step;
        kernels.attention(shape, count, dataOf<T>(q) + at, dataOf<T>(k) + at, dataOf<T>(v) + at,
                          statistics.mutable_data_ptr<float>() + first * statistics.stride(0), mutableDataOf<T>(y) + at,
                          scratch(kernels.attentionScratch(shape)));
      });
    });
    if (context == nullptr) return y;
    context->save_for_backward({q, k, v, y, statistics});
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &y = saved[3], &statistics = saved[4];
    const at::Tensor dy = gradients[0].contiguous();
    const AttentionShape shape = shapeOf(q);
    const int64_t step = q.stride(0);
    const at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    withKernelsFor(q, [&]<class T>(const KernelsFor<T>& kernels) {
      overImages(q.size(0), [&](int64_t first, int64_t count) {
        const auto from = [at = first * step](const at::Tensor& t) { return dataOf<T>(t) + at; };
        const auto to = [at = first * step](const at::Tensor& t) { return mutableDataOf<T>(t) + at; };
        kernels.attentionGradient(shape, count, from(q), from(k), from(v), from(y),
                                  statistics.const_data_ptr<float>() + first * statistics.stride(0), from(dy), to(dq),
                                  to(dk), to(dv), scratch(kernels.attentionScratch(shape)));
      });
    });
    return {dq, dk, dv};
  }

 private:
  static AttentionShape shapeOf(const at::Tensor& q) {
    return {q.size(1), q.size(2), static_cast<float>(scoreScale(headDim))};
  }
};

}  // namespace

at::Tensor attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  if (const auto own = cuda::attention(q, k, v, heads)) return *own;
  if (ownAttention(q, heads)) return applied<Attention>(q, k, v);
  const int64_t batch = q.size(0), tokens = q.size(1), channels = q.size(2), each = channels / heads;
  const auto split = [&](const at::Tensor& t) {  // N·heads × tokens × a head's channels
    return t.view({batch, tokens, heads, each}).transpose(1, 2).reshape({batch * heads, tokens, each});
  };
  // Few tokens: two batched products beat scaled_dot_product_attention on the CPU.
  const at::Tensor scores = at::bmm(split(q) * scoreScale(each), split(k).transpose(1, 2));
  const at::Tensor mixed = at::bmm(at::softmax(scores, -1), split(v)).view({batch, heads, tokens, each});
  return mixed.transpose(1, 2).reshape({batch, tokens, channels});
}

}  // namespace continual
