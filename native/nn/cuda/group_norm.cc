#ifdef CONTINUAL_DIFFUSION_CUDA
#include "kernels/cuda/plans.h"
#include "nn/cuda/functions.h"
#include "nn/cuda/launch.h"

namespace continual::cuda {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// `channels`: of x, or of all the maps of which it is the first.
GroupNormPlan planFor(const at::Tensor& x, int64_t channels, int64_t groups, int tensors) {
  return planGroupNorm(static_cast<int>(x.size(2) * x.size(3)), static_cast<int>(channels), static_cast<int>(groups),
                       static_cast<int>(x.element_size()), tensors);
}

Program::Grid gridOf(const GroupNormPlan& plan, const at::Tensor& y, int sums) {
  return {static_cast<int>(y.size(0)) * plan.slices, plan.across, plan.rows, plan.sharedMemory(sums)};
}

const void* dataOf(const at::Tensor& x) { return x.defined() ? x.const_data_ptr() : nullptr; }
void* mutableDataOf(const at::Tensor& x) { return x.defined() ? x.mutable_data_ptr() : nullptr; }

GroupNormMaps mapsOf(const at::Tensor& first, const at::Tensor& second, const at::Tensor& bias,
                     const at::Tensor& perImage) {
  return {dataOf(first), dataOf(second), dataOf(bias), dataOf(perImage), static_cast<int>(first.size(1))};
}

using Maybe = std::optional<at::Tensor>;

at::Tensor channelsLast(const Maybe& x) { return x ? aligned(x->contiguous(nhwc)) : at::Tensor(); }

class GroupNorm : public torch::autograd::Function<GroupNorm> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& x, const Maybe& second, const Maybe& addedBias,
                            const Maybe& added, const at::Tensor& weight, const at::Tensor& bias, int64_t groups,
                            double eps, bool silu, const Program* program) {
    const c10::cuda::CUDAGuard device(x.device());
    const at::Tensor a = channelsLast(x), b = channelsLast(second);
    const at::Tensor plus = addedBias.value_or(at::Tensor()), perImage = added ? added->contiguous() : at::Tensor();
    const int64_t channels = a.size(1) + (b.defined() ? b.size(1) : 0);
    const at::Tensor statistics = at::empty({a.size(0), groups, 2}, a.options().dtype(at::kFloat));
    const at::Tensor y = at::empty({a.size(0), channels, a.size(2), a.size(3)}, a.options(), nhwc);
    const GroupNormPlan plan = planFor(y, channels, groups, 1);
    program->launch(nameFor("groupNorm", y.scalar_type(), silu ? ", true" : ", false"), gridOf(plan, y, 1), plan.shape,
                    mapsOf(a, b, plus, perImage), static_cast<float>(eps), dataOf(weight), dataOf(bias),
                    mutableDataOf(statistics), mutableDataOf(y));
    if (context == nullptr) return y;
    context->save_for_backward({a, b, plus, perImage, weight, bias, statistics});
    context->saved_data["silu"] = silu;
    keep(context, program);
    return y;
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const variable_list saved = context->get_saved_variables();
    const at::Tensor &a = saved[0], &b = saved[1], &plus = saved[2], &perImage = saved[3], &weight = saved[4];
    const at::Tensor &bias = saved[5], &statistics = saved[6];
    const Program& program = kept(context);
    const c10::cuda::CUDAGuard device(a.device());
    const at::Tensor dy = aligned(gradients[0].contiguous(nhwc));
    const at::Tensor da = at::empty_like(a, a.options(), nhwc);
    const at::Tensor db = b.defined() ? at::empty_like(b, b.options(), nhwc) : at::Tensor();
    const at::Tensor dPerImage = perImage.defined() ? at::empty_like(perImage) : at::Tensor();
    const at::Tensor parts = at::empty({dy.size(0), 2 * dy.size(1)}, statistics.options());
    const GroupNormPlan plan = planFor(dy, dy.size(1), statistics.size(1), 2);
    const bool silu = context->saved_data["silu"].toBool();
    program.launch(nameFor("groupNormGradient", dy.scalar_type(), silu ? ", true" : ", false"), gridOf(plan, dy, 2),
                   plan.shape, mapsOf(a, b, plus, perImage), dataOf(weight), dataOf(bias), dataOf(statistics),
                   dataOf(dy), mutableDataOf(da), mutableDataOf(db), mutableDataOf(parts), mutableDataOf(dPerImage));
    const at::Tensor sums = sumRows(program, parts, dy.scalar_type()).view({2, -1});
    const at::Tensor dPlus = plus.defined() ? sumRows(program, dPerImage, dy.scalar_type()) : at::Tensor();
    return {da, db, dPlus, dPerImage, sums.select(0, 0), sums.select(0, 1), {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor groupNorm(const Program* program, const Joined& x, const Added& added, int64_t groups,
                     const at::Tensor& weight, const at::Tensor& bias, double eps, bool silu) {
  return applied<GroupNorm>(x.first, given(x.second), given(added.bias), given(added.perImage), weight, bias, groups,
                            eps, silu, program);
}

std::optional<at::Tensor> groupNorm(const Joined& x, const Added& added, int64_t groups, const at::Tensor& weight,
                                    const at::Tensor& bias, double eps, bool silu) {
  const at::Tensor& a = x.first;
  const int64_t channels = x.channels();
  if (!a.is_cuda() || !fits(a, a.size(1)) || !fits(a, channels) || a.numel() / a.size(1) * channels > mostNumbers) {
    return std::nullopt;
  }
  for (const at::Tensor& t : {weight, bias}) {
    if (t.scalar_type() != a.scalar_type() || !t.is_contiguous()) return std::nullopt;
  }
  const GroupNormPlan plan = planFor(a, channels, groups, 2);
  if (!plan.possible() || !plan.fills(static_cast<int>(a.size(0)))) return std::nullopt;
  const Program* const program = kernelsFor(a);
  if (program == nullptr) return std::nullopt;
  return groupNorm(program, x, added, groups, weight, bias, eps, silu);
}

}  // namespace continual::cuda

#endif
