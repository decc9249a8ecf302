#pragma once

#include <ATen/ATen.h>

#include <vector>

namespace continual {

/// The random draws of one source; which are defined depends on its kind. All that chance decides in a step, and what
/// the frozen teacher makes of it where that was computed ahead of the step.
struct Draws {
  at::Tensor x0;          // clean images, or x_t of a teacher that stops there; generated from z where undefined
  at::Tensor noise;       // ε added to x0
  at::Tensor timesteps;   // int64 N
  at::Tensor z;           // where the teacher's sampler starts, or the Gaussian input
  at::Tensor etaNoise;    // steps × N × C × H × W, for a teacher with eta > 0
  at::Tensor prediction;  // the teacher's; computed in the step where undefined

  static constexpr size_t fields = 6;
  at::Tensor& field(size_t i) {
    at::Tensor* const all[fields] = {&x0, &noise, &timesteps, &z, &etaNoise, &prediction};
    return *all[i];
  }
  /// Which dimension counts the images.
  static int64_t imagesOf(size_t field) { return field == 4 ? 1 : 0; }
  /// From the tensors at `first` on, in the order of the fields.
  static Draws from(const std::vector<at::Tensor>& all, size_t first) {
    Draws draws;
    for (size_t i = 0; i < fields; ++i) draws.field(i) = all[first + i];
    return draws;
  }

  /// `change(tensor, dimension of the images)` of each tensor that is defined.
  template <class Change>
  Draws with(Change change) const {
    Draws result = *this;
    for (size_t i = 0; i < fields; ++i) {
      at::Tensor& t = result.field(i);
      if (t.defined()) t = change(t, imagesOf(i));
    }
    return result;
  }
};

}  // namespace continual
