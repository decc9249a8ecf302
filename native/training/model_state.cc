#include "training/model_state.h"

#include <c10/core/GradMode.h>

#include "runtime/error.h"

namespace continual {

namespace {

at::Tensor freshWeights(const DiffusionModel& model, uint64_t seed) {
  Random random(seed, Purpose::initialisation, 0);
  return model.layout().initialise(random).to(model.how.device);
}

}  // namespace

ModelState::ModelState(const DiffusionModel& model, uint64_t seed, const AverageDecay& average)
    : student(model.layout(), freshWeights(model, seed), model.how),
      adam(student.master),
      gradient(model.layout(), student.master),
      model_(model),
      average_(average),
      averageWeight_(1 - average.after(0)),
      seed_(seed) {
  if (average_.most > 0) ema.emplace(model.layout(), student.master.clone(), model.how);
  const bool changes = average_.warmUp != AverageDecay::WarmUp::none;
  if (changes && !model.how.device.is_cpu()) {
    averageWeightOnDevice_ = at::full({}, averageWeight_, student.master.options());
  }
}

bool ModelState::has(StateTensor which) const {
  if (which == StateTensor::ema) return average_.most > 0;
  if (which == StateTensor::teacher) return hasTeacher_;
  if (which == StateTensor::pathStart || which == StateTensor::pathIntegral) return hasPath_;
  return which != StateTensor::gradient;
}

const WeightSet& ModelState::weights(StateTensor which) const {
  if (which == StateTensor::ema && !ema) throw Error("ERR_INVALID_ARGUMENT", "this learner keeps no EMA");
  if (which == StateTensor::teacher && !teacher) throw Error("ERR_INVALID_ARGUMENT", "this learner has no teacher");
  return which == StateTensor::ema ? *ema : which == StateTensor::teacher ? *teacher : student;
}

const at::Tensor& ModelState::flat(StateTensor which) const {
  if (which == StateTensor::expAvg) return adam.expAvg;
  if (which == StateTensor::expAvgSq) return adam.expAvgSq;
  if (which == StateTensor::pathStart) return path.start;
  if (which == StateTensor::pathIntegral) return path.integral;
  if (which == StateTensor::gradient) return gradient.flat();
  return weights(which).master;
}

std::vector<at::Tensor> ModelState::read(StateTensor which) const {
  if ((which == StateTensor::pathStart || which == StateTensor::pathIntegral) && !path) {
    throw Error("ERR_INVALID_ARGUMENT", "this learner follows no path");
  }
  return model_.layout().read(flat(which));
}

void ModelState::write(StateTensor which, const std::vector<at::Tensor>& tensors) {
  const c10::NoGradGuard noGrad;
  if (which == StateTensor::teacher && !teacher) makeTeacher();
  if ((which == StateTensor::pathStart || which == StateTensor::pathIntegral) && !path) followPath(true);
  model_.layout().write(flat(which), tensors);
  ++replacements_;  // a teacher's predictions ahead of their steps hold no more
  for (WeightSet* set : {&student, ema ? &*ema : nullptr, teacher ? &*teacher : nullptr}) {
    if (set != nullptr) set->refresh(0, model_.layout().total());
  }
}

void ModelState::setRates(double learningRate) {
  adam.setLearningRate(learningRate);
  const double weight = 1 - average_.after(taskStep_);
  if (weight == averageWeight_) return;
  averageWeight_ = weight;
  if (averageWeightOnDevice_.defined()) averageWeightOnDevice_.fill_(weight);
}

void ModelState::average(int64_t begin, int64_t end) {
  if (!ema) return;
  const at::Tensor own = ema->master.slice(0, begin, end), other = student.master.slice(0, begin, end);
  if (averageWeightOnDevice_.defined()) {
    own.lerp_(other, averageWeightOnDevice_);
  } else {
    own.lerp_(other, averageWeight_);
  }
  ema->refresh(begin, end);
}

void ModelState::beginTask(bool keepOptimizer) {
  taskStep_ = 0;
  if (keepOptimizer) return;
  adam.reset();
  optimizerStep_ = 0;
}

void ModelState::makeTeacher() {
  // Made before the old one goes, which stays where there is no memory for another.
  WeightSet frozen(model_.layout(), (ema ? *ema : student).master.clone(), model_.how);
  teacher = std::move(frozen);
  hasTeacher_ = true;
  ++replacements_;
}

void ModelState::freezeTeacher(double decay) {
  if (!teacher || decay == 0) return makeTeacher();
  const c10::NoGradGuard noGrad;
  teacher->master.lerp_((ema ? *ema : student).master, 1 - decay);
  teacher->refresh(0, model_.layout().total());
  ++replacements_;
}

void ModelState::followPath(bool follow) {
  path = {};
  if (follow) path.begin(student.master);
  hasPath_ = follow;
  ++replacements_;
}

void ModelState::keep(const std::string& penalty, Consolidated consolidated) {
  penalties.keep(penalty, std::move(consolidated));
  ++replacements_;
}

void ModelState::writePenalty(const std::string& name, Shape shape, const std::vector<at::Tensor>& anchor,
                              const std::vector<at::Tensor>& importance) {
  const c10::NoGradGuard noGrad;
  const Quadratic part{at::empty_like(student.master), at::empty_like(student.master)};
  model_.layout().write(part.anchor, anchor);
  model_.layout().write(part.importance, importance);
  penalties.add(name, shape, part);
  ++replacements_;
}

void ModelState::setPosition(const Position& position, int64_t optimizerStep) {
  seed_ = position.seed;
  step_ = position.step;
  taskStep_ = position.taskStep;
  optimizerStep_ = optimizerStep;
  adam.step.fill_(static_cast<double>(optimizerStep));
}

void ModelState::advance() {
  ++step_;
  ++taskStep_;
  ++optimizerStep_;
}

int64_t ModelState::bytes() const {
  int64_t total = 0;
  const auto count = [&](const at::Tensor& t) { total += static_cast<int64_t>(t.nbytes()); };
  for (const WeightSet* set : {&student, ema ? &*ema : nullptr, teacher ? &*teacher : nullptr}) {
    if (set == nullptr) continue;
    count(set->master);
    if (!set->compute.is_same(set->master)) count(set->compute);
  }
  count(adam.expAvg);
  count(adam.expAvgSq);
  count(gradient.flat());
  return total + penalties.bytes() + path.bytes();
}

}  // namespace continual
