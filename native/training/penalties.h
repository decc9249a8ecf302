#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "runtime/team.h"

namespace continual {

/// One penalty of an objective: `strength` times the cost that is kept under `name`.
struct Penalty {
  std::string name;
  double strength;
};

/// How the deviation δ = θ − anchor costs: diagonal ½·Σᵢ importanceᵢ·δᵢ², or of rank one ½·(importance·δ)².
enum class Shape { diagonal, rankOne };

/// A quadratic cost around weights of the past; both tensors are flat, float32, on the device.
struct Quadratic {
  at::Tensor anchor, importance;
};

/// What is kept under one name: the sum of its quadratics.
struct Consolidated {
  Shape shape = Shape::diagonal;
  std::vector<Quadratic> parts;
};

enum class Importance { squaredGradients, meanGradient, pathIntegral };

/// How a task's end adds to what is kept under `name`; lib/methods/objective.ts documents the fields.
struct Consolidation {
  std::string name;
  Importance estimate = Importance::squaredGradients;
  int64_t samples = 0;          // squaredGradients, meanGradient
  int64_t from = 0, to = 0;     // their timesteps are drawn from [from, to)
  bool optimal = false;         // meanGradient: with the least-squares factor
  double damping = 0;           // pathIntegral
  std::optional<double> decay;  // one quadratic, the earlier importance times this; else one for each task

  Shape shape() const { return estimate == Importance::meanGradient ? Shape::rankOne : Shape::diagonal; }
};

/// The quadratic costs in weight space that a learner keeps, by name.
class Penalties {
 public:
  /// A penalty's value, and what its gradient is made of.
  struct Cost {
    const Consolidated* kept;
    double strength;
    at::Tensor value;                     // float64, without the strength
    std::vector<at::Tensor> projections;  // rank one: importance·δ of each part, float32
  };

  /// Throws ERR_INVALID_ARGUMENT where nothing is kept under a name.
  std::vector<Cost> costs(const std::vector<Penalty>& penalties, const at::Tensor& weights, Team& team) const;
  /// Adds the gradient of strength · cost to elements [begin, end) of `gradient`.
  static void addGradient(const std::vector<Cost>& costs, const at::Tensor& weights, const at::Tensor& gradient,
                          int64_t begin, int64_t end);

  /// What is kept under the consolidation's name after a task that ended at `anchor`.
  Consolidated after(const Consolidation& consolidation, const at::Tensor& anchor, const at::Tensor& importance) const;

  const std::map<std::string, Consolidated>& kept() const { return kept_; }
  void keep(const std::string& name, Consolidated consolidated) { kept_[name] = std::move(consolidated); }
  /// Adds one quadratic, as read from a checkpoint.
  void add(const std::string& name, Shape shape, Quadratic part);
  int64_t bytes() const;

 private:
  std::map<std::string, Consolidated> kept_;
};

/// The path of the weights through a task, for the path integral: how much each lowered the loss on its way.
struct Path {
  at::Tensor start;     // θ where the task began; undefined: no path is followed
  at::Tensor integral;  // Σ over steps of −g·Δθ, g the gradient of the terms alone
  at::Tensor gradient, before;

  explicit operator bool() const { return start.defined(); }
  void begin(const at::Tensor& weights);
  int64_t bytes() const;
};

}  // namespace continual
