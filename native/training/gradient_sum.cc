#include "training/gradient_sum.h"

#include <c10/core/GradMode.h>
#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/custom_function.h>

#include <utility>

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

}  // namespace

GradientSum::GradientSum(const ParameterLayout& layout, const at::Tensor& master)
    : flat_(at::empty_like(master)), views_(layout.views(flat_)), arrivals_(views_.size()) {}

void GradientSum::begin(int64_t parts) {
  parts_ = parts;
  for (Arrivals& arrivals : arrivals_) {
    arrivals.next = 0;
    arrivals.waiting.assign(static_cast<size_t>(parts), {});
  }
}

void GradientSum::add(int64_t part, const Weights& weights, const std::function<at::Tensor(const Weights&)>& total) {
  Weights leaves, tapped;
  for (size_t i = 0; i < weights.size(); ++i) {
    leaves.push_back(weights[i].detach().requires_grad_());  // a part's own: graphs write to their leaves
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
  for (; arrivals.next < parts_; ++arrivals.next) {
    const at::Tensor next = std::exchange(arrivals.waiting[static_cast<size_t>(arrivals.next)], {});
    if (!next.defined()) return;
    if (arrivals.next == 0) {
      views_[parameter].copy_(next);
    } else {
      views_[parameter].add_(next);
    }
  }
}

}  // namespace continual
