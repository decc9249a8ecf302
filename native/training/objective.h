#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "diffusion/losses.h"
#include "diffusion/samplers/sampler.h"
#include "training/penalties.h"

namespace continual {

enum class SourceKind { task, memory, teacher, gaussian };
enum class Target { data, teacher };

/// Where the model's input comes from; lib/methods/objective.ts documents the fields.
struct Source {
  SourceKind kind = SourceKind::task;
  SamplerConfig sampler;        // teacher
  bool stopAtTimestep = false;  // teacher
  int64_t pool = -1;            // teacher: which of Batches::replay its images are drawn from; −1: generated anew
  bool symmetric = false;       // gaussian
  bool labelled = false;        // the network takes labels
  bool dropsOut = false;        // the student has dropout
  int64_t from = 0, to = 0;     // timesteps are drawn from [from, to)
  int64_t distribution = -1;    // which of Batches::distributions they are drawn by; −1: uniformly

  bool operator==(const Source&) const = default;

  bool generates() const { return kind == SourceKind::teacher && pool < 0; }
  bool isReal() const { return kind == SourceKind::task || kind == SourceKind::memory; }
  bool addsNoise() const { return kind != SourceKind::gaussian && !stopAtTimestep; }
};

struct Term {
  size_t source;  // index into Objective::sources
  Target target;
  double weight;
  Loss loss;
};

/// What a step minimises: Σ weight · loss(student(x_t, t), target) + Σ strength · penalty. Terms that name one source
/// share its draws and its forward pass.
struct Objective {
  std::vector<Source> sources;
  std::vector<Term> terms;
  std::vector<Penalty> penalties;

  bool needsTeacher() const;
};

/// For messages: e.g. `teacher → data`.
std::string describe(const Objective& objective, size_t term);

}  // namespace continual
