#pragma once

#include <ATen/ATen.h>

#include <string>
#include <vector>

#include "runtime/compute.h"
#include "runtime/random.h"

namespace continual {

/// The tensors a network computes with, indexed by the layers that own them.
using Weights = std::vector<at::Tensor>;

/// Initial values: uniform in [−bound, bound], normal with mean 0, or a constant.
struct Initial {
  enum class Kind { uniform, normal, constant } kind;
  double value = 0;  // the bound, the standard deviation, or the constant
};

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset;
  int64_t count;
  Initial initial;
  bool isFixed = false;  // never trained, and read in float32 whatever the network computes in
};

/// The names, shapes and places of a network's parameters inside one flat float32 tensor. Keeping them in one tensor
/// makes Adam, clipping, the EMA, a teacher's copy and an all-reduce one operation each.
class ParameterLayout {
 public:
  explicit ParameterLayout(at::MemoryFormat convolutions) : convolutions_(convolutions) {}

  int add(std::string name, std::vector<int64_t> shape, Initial initial);
  /// One that isn't trained. None that is may come after it.
  int addFixed(std::string name, std::vector<int64_t> shape, Initial initial);

  const std::vector<Parameter>& parameters() const { return parameters_; }
  int64_t total() const { return total_; }
  /// Elements [0, trained) are those that training changes.
  int64_t trained() const { return trained_; }

  /// Views of `flat` in the parameters' shapes; convolution kernels in the layout's memory format.
  Weights views(const at::Tensor& flat) const;
  /// Fresh initial values, PyTorch's defaults for each kind of layer.
  at::Tensor initialise(Random& random) const;
  /// Row-major float32 copies on the CPU, in order.
  std::vector<at::Tensor> read(const at::Tensor& flat) const;
  /// The inverse of `read`; counts are checked.
  void write(const at::Tensor& flat, const std::vector<at::Tensor>& tensors) const;

 private:
  at::MemoryFormat convolutions_;
  std::vector<Parameter> parameters_;
  int64_t total_ = 0, trained_ = 0;
};

/// One set of weights: float32 masters, and the views (of a copy in the compute dtype, if that is another) that the
/// network is called with.
struct WeightSet {
  at::Tensor master;
  at::Tensor compute;
  Weights views;

  WeightSet(const ParameterLayout& layout, at::Tensor masters, const Compute& how);
  /// Brings elements [begin, end) of `compute` up to date after `master` changed.
  void refresh(int64_t begin, int64_t end);
};

}  // namespace continual
