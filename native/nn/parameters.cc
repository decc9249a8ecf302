#include "nn/parameters.h"

#include "runtime/error.h"

namespace continual {

int ParameterLayout::add(std::string name, std::vector<int64_t> shape, Initial initial) {
  const int64_t count = c10::multiply_integers(shape);
  parameters_.push_back({std::move(name), std::move(shape), total_, count, initial});
  trained_ = total_ += count;
  return static_cast<int>(parameters_.size()) - 1;
}

int ParameterLayout::addFixed(std::string name, std::vector<int64_t> shape, Initial initial) {
  const int64_t before = trained_;
  const int index = add(std::move(name), std::move(shape), initial);
  trained_ = before;
  parameters_.back().isFixed = true;
  return index;
}

Weights ParameterLayout::views(const at::Tensor& flat) const {
  Weights result;
  result.reserve(parameters_.size());
  for (const Parameter& p : parameters_) {
    at::Tensor segment = flat.narrow(0, p.offset, p.count);
    if (p.shape.size() == 4 && convolutions_ == at::MemoryFormat::ChannelsLast) {
      result.push_back(segment.view({p.shape[0], p.shape[2], p.shape[3], p.shape[1]}).permute({0, 3, 1, 2}));
    } else {
      result.push_back(segment.view(p.shape));
    }
  }
  return result;
}

at::Tensor ParameterLayout::initialise(Random& random) const {
  at::Tensor flat = at::empty({total_}, at::kFloat);
  const Weights targets = views(flat);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const auto& [name, shape, offset, count, initial, isFixed] = parameters_[i];
    if (initial.kind == Initial::Kind::uniform) {
      targets[i].copy_(random.uniform(shape, -initial.value, initial.value));
    } else if (initial.kind == Initial::Kind::normal) {
      targets[i].copy_(random.normal(shape));
      if (initial.value != 1) targets[i].mul_(initial.value);
    } else {
      targets[i].fill_(initial.value);
    }
  }
  return flat;
}

std::vector<at::Tensor> ParameterLayout::read(const at::Tensor& flat) const {
  std::vector<at::Tensor> result;
  // One transfer for all of them, then a copy each, so that what is handed out never aliases the weights.
  for (const at::Tensor& view : views(flat.to(at::kCPU, at::kFloat))) {
    result.push_back(view.clone(at::MemoryFormat::Contiguous));
  }
  return result;
}

void ParameterLayout::write(const at::Tensor& flat, const std::vector<at::Tensor>& tensors) const {
  if (tensors.size() != parameters_.size()) {
    throw Error("ERR_INVALID_ARGUMENT",
                "expected " + std::to_string(parameters_.size()) + " tensors, found " + std::to_string(tensors.size()));
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (tensors[i].numel() == parameters_[i].count) continue;
    throw Error("ERR_INVALID_ARGUMENT", parameters_[i].name + ": expected " + std::to_string(parameters_[i].count) +
                                            " values, found " + std::to_string(tensors[i].numel()));
  }
  // For a GPU they are put together first, so that there is one transfer for all of them.
  const at::Tensor staged = flat.is_cpu() ? flat : at::empty({total_}, at::kFloat);
  const Weights targets = views(staged);
  for (size_t i = 0; i < parameters_.size(); ++i) targets[i].copy_(tensors[i].view(parameters_[i].shape));
  if (!staged.is_same(flat)) flat.copy_(staged);
}

WeightSet::WeightSet(const ParameterLayout& layout, at::Tensor masters, const Compute& how)
    : master(std::move(masters)),
      compute(how.dtype == at::kFloat ? master : master.to(how.dtype)),
      views(layout.views(compute)) {
  const Weights inFull = layout.views(master);
  for (size_t i = 0; i < views.size(); ++i) {
    if (layout.parameters()[i].isFixed) views[i] = inFull[i];
  }
}

void WeightSet::refresh(int64_t begin, int64_t end) {
  if (!compute.is_same(master)) compute.slice(0, begin, end).copy_(master.slice(0, begin, end));
}

}  // namespace continual
