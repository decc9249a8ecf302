// Whether what CUDA is to record as a graph keeps to the device: the step of every kind of objective, and sampling, run
// on the device `meta`, which has shapes and no numbers. An operator that looks at a value throws there, and any that
// takes a tensor of the host is reported. Prints a line for each case: its name, operators that ran, and how many took
// one.
#include <ATen/ATen.h>
#include <ATen/record_function.h>
#include <torch/library.h>

#include <iostream>
#include <string>
#include <vector>

#include "small_network.h"
#include "training/trainer.h"

namespace {

using continual::Objective;
using continual::SourceKind;
using continual::Target;

// What `meta` has no C++ for.

at::Tensor convolution(const at::Tensor& x, const at::Tensor& weight, const std::optional<at::Tensor>&,
                       at::IntArrayRef stride, at::IntArrayRef, at::IntArrayRef, bool, at::IntArrayRef, int64_t) {
  return at::empty({x.size(0), weight.size(0), x.size(2) / stride[0], x.size(3) / stride[1]}, x.options());
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> convolutionBackward(const at::Tensor&, const at::Tensor& x,
                                                                   const at::Tensor& weight, at::IntArrayRef,
                                                                   at::IntArrayRef, at::IntArrayRef, bool,
                                                                   at::IntArrayRef, int64_t, std::array<bool, 3>) {
  return {at::empty_like(x), at::empty_like(weight), at::empty({weight.size(0)}, x.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> groupNorm(const at::Tensor& x, const std::optional<at::Tensor>&,
                                                         const std::optional<at::Tensor>&, int64_t images, int64_t,
                                                         int64_t, int64_t groups, double) {
  return {at::empty_like(x), at::empty({images, groups}, x.options()), at::empty({images, groups}, x.options())};
}

std::tuple<at::Tensor, at::Tensor, at::Tensor> groupNormBackward(const at::Tensor&, const at::Tensor& x,
                                                                 const at::Tensor&, const at::Tensor&,
                                                                 const std::optional<at::Tensor>&, int64_t,
                                                                 int64_t channels, int64_t, int64_t,
                                                                 std::array<bool, 3>) {
  return {at::empty_like(x), at::empty({channels}, x.options()), at::empty({channels}, x.options())};
}

at::Tensor smoothL1Backward(const at::Tensor&, const at::Tensor& x, const at::Tensor&, int64_t, double) {
  return at::empty_like(x);
}

at::Tensor mseBackward(const at::Tensor&, const at::Tensor& x, const at::Tensor&, int64_t) { return at::empty_like(x); }

at::Tensor where(const at::Tensor& flags, const at::Tensor& x, const at::Tensor& y) {
  return at::empty_like(flags * x * y);
}

at::Tensor flip(const at::Tensor& x, at::IntArrayRef) { return at::empty_like(x); }

at::Tensor searchSorted(const at::Tensor&, const at::Tensor& x, bool, bool, std::optional<c10::string_view>,
                        const std::optional<at::Tensor>&) {
  return at::empty_like(x, at::kLong);
}

void fusedAdam(at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList, at::TensorList,
               const at::Tensor&, double, double, double, double, bool, bool, const std::optional<at::Tensor>&,
               const std::optional<at::Tensor>&) {}

TORCH_LIBRARY_IMPL(aten, Meta, library) {
  library.impl("_fused_adam_.tensor_lr", fusedAdam);
  library.impl("where.self", where);
  library.impl("flip", flip);
  library.impl("searchsorted.Tensor", searchSorted);
  library.impl("smooth_l1_loss_backward", smoothL1Backward);
  library.impl("mse_loss_backward", mseBackward);
  library.impl("native_group_norm", groupNorm);
  library.impl("native_group_norm_backward", groupNormBackward);
  library.impl("convolution_overrideable", convolution);
  library.impl("convolution_backward_overrideable", convolutionBackward);
}

int64_t operators = 0, ofHost = 0;

void look(const at::Tensor& t, const char* name) {
  // 2 * x has its 2 as a tensor of the host; it goes along with the launch.
  if (!t.defined() || t.is_meta() || t.unsafeGetTensorImpl()->is_wrapped_number()) return;
  ++ofHost;
  std::cerr << name << " takes a tensor of the host\n";
}

std::unique_ptr<at::ObserverContext> observe(const at::RecordFunction& f) {
  ++operators;
  for (const c10::IValue& value : f.inputs()) {
    if (value.isTensor()) look(value.toTensor(), f.name());
    if (value.isTensorList()) {
      for (const at::Tensor& t : value.toTensorVector()) look(t, f.name());
    }
  }
  return nullptr;
}

template <class Work>
void watch(const std::string& name, Work work) {
  operators = ofHost = 0;
  const auto handle =
      at::addGlobalCallback(at::RecordFunctionCallback(observe).needsInputs(true).scopes({at::RecordScope::FUNCTION}));
  work();
  at::removeCallback(handle);
  std::cout << name << ' ' << operators << ' ' << ofHost << '\n';
}

}  // namespace

int main() {
  const continual::NoiseSchedule schedule(continual::linearTable(), at::kMeta);
  continual::Trainer trainer(continual::smallUNet(), schedule, continual::parametrisation("epsilon"),
                             {at::kMeta, at::kFloat, false}, 1,
                             {0.99, continual::AverageDecay::WarmUp::power, 1, 2.0 / 3});
  trainer.state.freezeTeacher(0);
  std::vector<at::Tensor> one;
  for (const auto& p : trainer.model.layout().parameters()) one.push_back(at::ones(p.shape));
  trainer.state.writePenalty("ewc", continual::Shape::diagonal, one, one);
  trainer.state.writePenalty("rank-1", continual::Shape::rankOne, one, one);
  trainer.state.followPath(true);
  trainer.state.setRates(1e-3);
  const continual::OptimizerConfig optimizer{0.9, 0.999, 1e-8, 0, 1};

  const auto images = continual::blackImages(at::zeros({6}, at::kLong), 8, 8, 1, at::kByte);
  const continual::Pool pool({{images, at::arange(6)}});
  const continual::Cancellation never(nullptr, nullptr);
  const continual::SamplerConfig ddim{&continual::sampler("ddim"), 2};
  const auto source = [&](SourceKind kind) {
    continual::Source s;
    s.kind = kind;
    s.to = 1000;
    if (kind == SourceKind::teacher) s.sampler = ddim;
    return s;
  };
  const continual::Term data{0, Target::data, 0.5, {}}, teacher{1, Target::teacher, 0.5, {}};
  std::vector<std::pair<std::string, Objective>> cases;
  const auto add = [&](const std::string& name, const continual::Source& second, const continual::Term& term) {
    cases.push_back({name, {{source(SourceKind::task), second}, {data, term}, {}}});
  };
  continual::Source eta = source(SourceKind::teacher), partial = eta, ancestral = eta,
                    symmetric = source(SourceKind::gaussian);
  eta.sampler.eta = 1;
  partial.stopAtTimestep = true;
  ancestral.sampler.sampler = &continual::sampler("ddpm");
  symmetric.symmetric = true;
  add("memory", source(SourceKind::memory), {1, Target::data, 0.5, {continual::LossKind::smoothL1, 0}});
  add("teacher", source(SourceKind::teacher), teacher);
  add("teacher-eta", eta, {1, Target::teacher, 0.5, {continual::LossKind::minSnr, 5}});
  add("teacher-ddpm", ancestral, teacher);
  add("teacher-partial", partial, teacher);
  add("gaussian", source(SourceKind::gaussian), teacher);
  symmetric.distribution = 0;
  add("gaussian-symmetric", symmetric, teacher);
  cases.push_back({"penalties", {{source(SourceKind::task)}, {data}, {{"ewc", 1}, {"rank-1", 1}}}});
  for (const auto& [name, objective] : cases) {
    continual::Batches batches{pool, pool, 4, true};
    batches.distributions.push_back({at::arange(1, 1001, at::kDouble), true});
    const auto draws = trainer.begin({objective, batches, {1e-3}, optimizer})->draw();
    watch(name, [&, &objective = objective] {
      trainer.step.compute(objective, draws, never);
      trainer.step.update(optimizer);
    });
  }

  continual::UNetConfig ofClasses = continual::smallUNet();
  ofClasses.classEmbedding = continual::ClassEmbedding::table;
  ofClasses.classRows = 5;
  continual::Trainer conditional(ofClasses, schedule, continual::parametrisation("epsilon"),
                                 {at::kMeta, at::kFloat, false}, 1, {0.99});
  conditional.state.freezeTeacher(0);
  conditional.state.setRates(1e-3);
  continual::Source labelled = source(SourceKind::task), guided = source(SourceKind::teacher);
  labelled.labelled = guided.labelled = true;
  guided.sampler.guidance = {2, 0, 500};
  const continual::Objective ofLabels{{labelled, guided}, {data, teacher}, {}};
  const continual::Labels labels{0.1, at::ones({4}, at::kDouble)};
  const auto draws = conditional.begin({ofLabels, {pool, pool, 4, true, labels}, {1e-3}, optimizer})->draw();
  watch("labels", [&] {
    conditional.step.compute(ofLabels, draws, never);
    conditional.step.update(optimizer);
  });

  for (const char* kind : {"ddim", "ddpm", "euler", "heun", "dpm-solver++", "sde-dpm-solver++", "unipc"}) {
    const at::Tensor start = at::empty({4, 1, 8, 8}, at::kMeta);
    continual::SamplerConfig sampler{.sampler = &continual::sampler(kind), .steps = 3, .clip = 1};
    sampler.karras = sampler.sampler->countsInRatio;
    watch(std::string("sample-") + kind, [&] {
      continual::toPixels(continual::sample({
          .schedule = trainer.model.schedule,
          .parametrisation = trainer.model.parametrisation,
          .config = sampler,
          .predict =
              [&](const continual::ModelInput& input) { return trainer.predict(continual::StateTensor::ema, input); },
          .start = start,
          .noise = [&](int64_t) { return start; },
          .stop = at::empty({4}, at::TensorOptions(at::kMeta).dtype(at::kLong)),
          .watch = [](int64_t, const at::Tensor&) {},
      }));
    });
  }
}
