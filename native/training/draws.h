#pragma once

#include <ATen/ATen.h>

#include <array>
#include <vector>

#include "data/epochs.h"
#include "data/images.h"
#include "diffusion/model.h"
#include "distributed/group.h"
#include "training/objective.h"

namespace continual {

/// All that chance decides for one source in a step, and what the frozen teacher makes of it where that was computed
/// ahead of the step. Which tensors are defined depends on the source.
struct Draws {
  at::Tensor x0;          // clean images, or x_t of a teacher that stops there; generated from z where undefined
  at::Tensor noise;       // ε added to x0
  at::Tensor timesteps;   // int64 N
  at::Tensor labels;      // int64 N: what student and teacher are told; the null label where it was dropped
  at::Tensor classes;     // int64 N: what the teacher generates
  at::Tensor z;           // where the teacher's sampler starts, or the Gaussian input
  at::Tensor stepNoise;   // noises × N × C × H × W, of the teacher's sampler
  at::Tensor prediction;  // the teacher's; computed in the step where undefined
  at::Tensor dropout;     // int64 N: keys of the student's dropout

  /// `change(tensor, dimension of the images)` of each tensor that is defined.
  template <class Change>
  Draws with(Change change) const;
};

/// The one list of the tensors of a source's draws: batching, the inputs of a recorded graph and both conversions to
/// and from JavaScript follow it.
struct DrawsField {
  const char* name;
  at::Tensor Draws::* tensor;
  int64_t imagesAt;  // the dimension that counts the images
  bool isInteger;
  bool (*drawn)(const Source&);
};
inline constexpr std::array<DrawsField, 9> drawsFields{{
    {"x0", &Draws::x0, 0, false, [](const Source& s) { return s.isReal() || s.pool >= 0; }},
    {"noise", &Draws::noise, 0, false, [](const Source& s) { return s.addsNoise(); }},
    {"timesteps", &Draws::timesteps, 0, true, [](const Source&) { return true; }},
    {"labels", &Draws::labels, 0, true, [](const Source& s) { return s.labelled; }},
    {"classes", &Draws::classes, 0, true, [](const Source& s) { return s.labelled && s.generates(); }},
    {"z", &Draws::z, 0, false, [](const Source& s) { return s.generates() || s.kind == SourceKind::gaussian; }},
    {"stepNoise", &Draws::stepNoise, 1, false, [](const Source& s) { return s.generates() && s.sampler.noises() > 0; }},
    {"prediction", &Draws::prediction, 0, false, [](const Source&) { return false; }},
    {"dropout", &Draws::dropout, 0, true, [](const Source& s) { return s.dropsOut; }},
}};

template <class Change>
Draws Draws::with(Change change) const {
  Draws result = *this;
  for (const DrawsField& field : drawsFields) {
    at::Tensor& t = result.*field.tensor;
    if (t.defined()) t = change(t, field.imagesAt);
  }
  return result;
}

/// A key for each image of a batch: 31 bits, so that JavaScript's integers hold them.
at::Tensor dropoutKeys(Random& random, int64_t count);

/// As a list of tensors in the fields' order, source by source.
std::vector<at::Tensor> flattened(const std::vector<Draws>& draws);
std::vector<Draws> unflattened(const std::vector<at::Tensor>& tensors);

/// Where a learner stands: with the data, all that its draws are a function of.
struct Position {
  uint64_t seed;
  int64_t step, taskStep;  // since its creation, and since the task began

  bool operator==(const Position&) const = default;
  Position after(int64_t steps) const { return {seed, step + steps, taskStep + steps}; }
};

/// What labels a conditional network is told.
struct Labels {
  double dropout = 0;  // probability of the null label
  at::Tensor weights;  // float64, of each class that the teacher's images may have
};

/// How likely timesteps are that are not drawn uniformly.
struct TimestepDistribution {
  at::Tensor cumulative;  // float64: of the source's first 1, 2, … timesteps together, up to a factor
  bool stratified;        // over the batch
};

/// What the draws of training steps are taken from.
struct Batches {
  Pool task, memory;
  int64_t batchSize;
  bool horizontalFlip;
  Labels labels = {};
  /// The teacher's images by Source::pool, with their classes; class · T + timestep where the teacher stops there.
  std::vector<Pool> replay = {};
  std::vector<TimestepDistribution> distributions = {};  // by Source::distribution
};

/// Draws what steps train on: a pure function of (position, batches, sources), but for permutations that it remembers.
class Drawer {
 public:
  Drawer(const DiffusionModel& model, const Batches& batches, const Group& group)
      : model_(model), batches_(batches), group_(group) {}

  /// This process's share of the draws, on the device.
  std::vector<Draws> draw(const std::vector<Source>& sources, const Position& at);

 private:
  Draws draw(const Source& source, const Position& at, Random& random);
  at::Tensor timesteps(const Source& source, Random& random) const;
  /// What the networks are told of images with these classes.
  at::Tensor told(const at::Tensor& classes, Random& random) const;

  const DiffusionModel& model_;
  const Batches& batches_;
  const Group& group_;
  Epochs epochs_;
};

}  // namespace continual
