#ifdef CONTINUAL_DIFFUSION_CUDA
#include <cmath>

#include "kernels/cuda/plans.h"
#include "nn/cuda/functions.h"
#include "nn/cuda/launch.h"

namespace continual::cuda {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

AttentionPlan planFor(const at::Tensor& q) {
  return planAttention(static_cast<int>(q.size(1)), static_cast<int>(q.size(2)));
}

Program::Grid gridOf(const AttentionPlan& plan, const at::Tensor& q, int numbersOfToken) {
  return {static_cast<int>(q.size(0)) * plan.blocks, plan.threads, 1, plan.sharedMemory(numbersOfToken)};
}

class Attention : public torch::autograd::Function<Attention> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& query, const at::Tensor& key,
                            const at::Tensor& value, const Program* program) {
    const c10::cuda::CUDAGuard device(query.device());
    const at::Tensor q = aligned(query.contiguous()), k = aligned(key.contiguous()), v = aligned(value.contiguous());
    const AttentionPlan plan = planFor(q);
    const at::Tensor y = at::empty_like(q);
    const at::Tensor statistics = at::empty({q.size(0), q.size(2) / 8, q.size(1), 2}, q.options().dtype(at::kFloat));
    program->launch(nameFor("attention", q.scalar_type()), gridOf(plan, q, 16), plan.heads, q.const_data_ptr(),
                    k.const_data_ptr(), v.const_data_ptr(), statistics.mutable_data_ptr(), y.mutable_data_ptr());
    if (context == nullptr) return y;
    context->save_for_backward({q, k, v, y, statistics});
    keep(context, program);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2], &y = saved[3], &statistics = saved[4];
    const c10::cuda::CUDAGuard device(q.device());
    const at::Tensor dy = aligned(gradients[0].contiguous());
    const at::Tensor dq = at::empty_like(q), dk = at::empty_like(k), dv = at::empty_like(v);
    const AttentionPlan plan = planFor(q);
    kept(context).launch(nameFor("attentionGradient", q.scalar_type()), gridOf(plan, q, 35), plan.heads,
                         q.const_data_ptr(), k.const_data_ptr(), v.const_data_ptr(), y.const_data_ptr(),
                         statistics.const_data_ptr(), dy.const_data_ptr(), dq.mutable_data_ptr(), dk.mutable_data_ptr(),
                         dv.mutable_data_ptr());
    return {dq, dk, dv, {}};
  }
};

}  // namespace

at::Tensor attention(const Program* program, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return applied<Attention>(q, k, v, program);
}

std::optional<at::Tensor> attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, int64_t heads) {
  if (!q.is_cuda() || q.size(2) != 8 * heads || !fits(q, q.size(2)) || !planFor(q).possible()) return std::nullopt;
  const Program* const program = kernelsFor(q);
  if (program == nullptr) return std::nullopt;
  return attention(program, q, k, v);
}

}  // namespace continual::cuda

#endif
