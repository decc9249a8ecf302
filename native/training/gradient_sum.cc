#include "training/gradient_sum.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

#include "nn/own_kernels.h"

namespace continual {

namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

struct Receiver : torch::CustomClassHolder {
  explicit Receiver(std::function<void(const at::Tensor&)> f) : receive(std::move(f)) {}
  std::function<void(const at::Tensor&)> receive;
};

// A weight as it is; its gradient goes to a receiver and no further.
class Tapped : public torch::autograd::Function<Tapped> {
 public:
  static at::Tensor forward(AutogradContext* context, const at::Tensor& weight,
                            const c10::intrusive_ptr<Receiver>& receiver) {
    context->saved_data["receiver"] = c10::IValue::make_capsule(receiver);
    return weight.detach();
  }

  static variable_list backward(AutogradContext* context, const variable_list& gradients) {
    const auto receiver = context->saved_data["receiver"].toCapsule();
    static_cast<Receiver&>(*receiver).receive(gradients[0]);
    return {at::Tensor(), at::Tensor()};
  }
};

/// sum = (first ? 0 : sum) + a + b, where there may be no b.
void addTo(const at::Tensor& sum, bool first, const at::Tensor& a, const at::Tensor& b) {
  const auto alike = [&](const at::Tensor& t) {
    return !t.defined() || (suitsOwnKernels(t) && t.is_non_overlapping_and_dense() && t.strides() == sum.strides());
  };
  if (alike(a) && alike(b)) {
    withKernelsFor(a, [&]<class T>(const KernelsFor<T>& kernels) {
      kernels.addTo(sum.numel(), first, dataOf<T>(a), b.defined() ? dataOf<T>(b) : nullptr,
                    sum.mutable_data_ptr<float>());
    });
    return;
  }
  if (first) {
    sum.copy_(a);
  } else {
    sum.add_(a);
  }
  if (b.defined()) sum.add_(b);
}

}  // namespace

GradientSum::GradientSum(const ParameterLayout& layout, const at::Tensor& master)
    : flat_(at::zeros_like(master)), views_(layout.views(flat_)), arrivals_(views_.size()) {}

void GradientSum::begin(int64_t parts) {
  parts_ = parts;
  for (Arrivals& arrivals : arrivals_) {
    arrivals.next = 0;
    arrivals.waiting.assign(static_cast<size_t>(parts), {});
  }
}

void GradientSum::add(int64_t part, const Weights& weights, const std::function<at::Tensor(const Weights&)>& total) {
  Weights leaves, tapped;
  for (const at::Tensor& weight : weights) {
    leaves.push_back(weight.detach().requires_grad_());  // a part's own: graphs write to their leaves
  }
  if (!flat_.is_cpu()) {  // one part after the other, whose gradients take one launch for all of them, not one each
    const Weights gradients = torch::autograd::grad({total(leaves)}, leaves, {}, std::nullopt, /*create_graph=*/false,
                                                    /*allow_unused=*/true);
    const c10::NoGradGuard noGrad;
    Weights rows, targets;
    for (size_t i = 0; i < weights.size(); ++i) {
      if (!gradients[i].defined()) continue;
      // Convolutions are channels-last.
      const auto inOrder = [](const at::Tensor& t) { return t.dim() == 4 ? t.permute({0, 2, 3, 1}) : t; };
      rows.push_back(inOrder(gradients[i]).reshape({-1}));
      targets.push_back(inOrder(views_[i]).view({-1}));
    }
    if (part == 0) {
      at::_foreach_copy_(targets, rows);
    } else {
      at::_foreach_add_(targets, rows);
    }
    return;
  }
  for (size_t i = 0; i < weights.size(); ++i) {
    const auto receiver = c10::make_intrusive<Receiver>([this, i, part](const at::Tensor& g) { deliver(i, part, g); });
    tapped.push_back(Tapped::apply(leaves[i], receiver));
  }
  // Asked for the leaves' own gradients, which the taps leave undefined, so that only what leads to them is computed.
  torch::autograd::grad({total(tapped)}, leaves, {}, std::nullopt, /*create_graph=*/false, /*allow_unused=*/true);
}

void GradientSum::deliver(size_t parameter, int64_t part, const at::Tensor& gradient) {
  const c10::NoGradGuard noGrad;
  Arrivals& arrivals = arrivals_[parameter];
  const std::lock_guard lock(arrivals.mutex);
  arrivals.waiting[static_cast<size_t>(part)] = gradient;
  const auto waits = [&](int64_t i) { return i < parts_ && arrivals.waiting[static_cast<size_t>(i)].defined(); };
  const auto take = [&] { return std::exchange(arrivals.waiting[static_cast<size_t>(arrivals.next++)], {}); };
  // Two at a time: half the walks through the sum, which is not in the caches.
  while (waits(arrivals.next) && (waits(arrivals.next + 1) || arrivals.next + 1 == parts_)) {
    const bool first = arrivals.next == 0;
    const at::Tensor a = take(), b = arrivals.next < parts_ ? take() : at::Tensor();
    addTo(views_[parameter], first, a, b);
  }
}

}  // namespace continual
