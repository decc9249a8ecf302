#include "training/session.h"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "runtime/error.h"

namespace continual {

Session::Session(const DiffusionModel& model, ModelState& state, Team& team, const Group& group, SessionConfig config)
    : model_(model),
      state_(state),
      config_(std::move(config)),
      drawer_(model, config_.batches, group),
      step_(model, state, team, group),
      team_(team),
      group_(group),
      replacements_(state.replacements()),
      recorded_(model.how.device) {
  step_.requireTeacher(config_.objective);
  if (model.how.device.is_cuda() && config_.batches.batchSize < group.size) {
    throw Error("ERR_INVALID_ARGUMENT", "batchSize is " + std::to_string(config_.batches.batchSize) +
                                            "; expected at least one image for each of the " +
                                            std::to_string(group.size) + " processes, which compute on GPUs");
  }
  for (const Source& source : config_.objective.sources) {
    if (source.kind == SourceKind::task && config_.batches.task.size() == 0) {
      throw Error("ERR_INVALID_ARGUMENT", "the task has no images to train on");
    }
    const bool drawsClasses = source.labelled && !source.isReal() && source.pool < 0;
    const at::Tensor& weights = config_.batches.labels.weights;
    if (drawsClasses && !(weights.defined() && weights.numel() > 0 && weights.sum().item<double>() > 0)) {
      throw Error("ERR_INVALID_ARGUMENT", "labels: a source without labels of its own needs weights to draw them by");
    }
    const auto& distributions = config_.batches.distributions;
    const auto number = static_cast<size_t>(source.distribution);
    if (source.distribution >= 0 &&
        (number >= distributions.size() || distributions[number].cumulative.numel() != source.to - source.from)) {
      throw Error("ERR_INVALID_ARGUMENT", "timesteps: expected a distribution over the source's timesteps");
    }
    if (source.kind == SourceKind::memory && config_.batches.memory.size() == 0) {
      throw Error("ERR_INVALID_ARGUMENT", "the memory holds no images yet");
    }
  }
}

void Session::setReplay(int64_t number, Pool images) {
  if (images.size() == 0) throw Error("ERR_INVALID_ARGUMENT", "replay: there are no images to draw from");
  auto& replay = config_.batches.replay;
  if (number >= static_cast<int64_t>(replay.size())) replay.resize(static_cast<size_t>(number) + 1, Pool({}));
  replay[static_cast<size_t>(number)] = std::move(images);
  drawn_.clear();
}

void Session::requireReplay() const {
  const auto& replay = config_.batches.replay;
  for (const Source& source : config_.objective.sources) {
    if (source.pool < 0) continue;
    if (source.pool >= static_cast<int64_t>(replay.size()) || replay[static_cast<size_t>(source.pool)].size() == 0) {
      throw Error("ERR_INVALID_ARGUMENT", "a source draws from a pool of images that it was not given yet");
    }
  }
}

void Session::stop(const Cancellation& cancellation) {
  if (!std::exchange(stopped_, true)) step_.stop(config_.objective.terms.size(), cancellation);
}

std::vector<Draws> Session::draw() {
  requireReplay();
  return drawer_.draw(config_.objective.sources, state_.position());
}

void Session::forget() {
  recorded_.reset();
  ahead_.clear();
  drawn_.clear();
  looksAhead_ = true;
  replacements_ = state_.replacements();
}

void Session::drawAhead(int64_t most, const Cancellation& cancellation) {
  // A GPU takes much less time for each image of a large batch. The last is repeated where fewer steps are left, so
  // that a graph always fits, and an image does not depend on how many there are.
  constexpr int64_t enoughPixels = 1 << 19, mostSteps = 8;
  const std::vector<Source>& sources = config_.objective.sources;
  const UNetConfig& unet = model_.unet.config();
  const int64_t batch = config_.batches.batchSize * unet.sampleHeight * unet.sampleWidth;
  int64_t pixels = std::max<int64_t>(batch, 1);
  for (const Source& source : sources) {
    if (source.generates()) pixels = std::max(pixels, batch * source.sampler.noises());
  }
  const int64_t several =
      model_.how.device.is_cuda() && looksAhead_ ? std::clamp<int64_t>(enoughPixels / pixels, 1, mostSteps) : 1;
  const Position now = state_.position();
  for (int64_t i = 0; i < std::min(several, most); ++i) drawn_.push_back(drawer_.draw(sources, now.after(i)));
  drawnFor_ = now;
  if (several == 1) return;
  try {
    lookAhead(several, cancellation);
  } catch (const c10::OutOfMemoryError&) {  // a single step may have room
    ahead_.clear();
    looksAhead_ = false;
    drawn_ = {drawer_.draw(sources, now)};
  }
}

void Session::drawOrStop(int64_t most, const Cancellation& cancellation) {
  try {
    drawAhead(most, cancellation);
  } catch (const Cancelled&) {
    stop(cancellation);
    throw;
  } catch (...) {
    step_.stop(config_.objective.terms.size(), cancellation, Standing::failed);
    throw;
  }
}

void Session::lookAhead(int64_t several, const Cancellation& cancellation) {
  const c10::NoGradGuard noGrad;
  const PrecisionScope precision(model_.how);
  const Objective& objective = config_.objective;
  const int64_t count = drawn_[0][0].timesteps.size(0);
  const Weights* teacher = state_.teacher ? &state_.teacher->views : nullptr;
  for (size_t i = 0; i < objective.sources.size(); ++i) {
    const Source& source = objective.sources[i];
    const bool generates = source.generates();
    const bool predicts = std::any_of(objective.terms.begin(), objective.terms.end(), [&](const Term& term) {
      return term.source == i && term.target == Target::teacher;
    });
    if (!generates && !predicts) continue;
    Graphed::Tensors inputs;
    for (const DrawsField& field : drawsFields) {
      std::vector<at::Tensor> all;
      for (const std::vector<Draws>& step : drawn_) all.push_back(step[i].*field.tensor);
      all.resize(static_cast<size_t>(several), all.back());
      inputs.push_back(all[0].defined() ? at::cat(all, field.imagesAt) : at::Tensor());
    }
    Graphed& graphed = ahead_.try_emplace(i, model_.how.device).first->second;
    const at::Tensor computed = graphed(inputs, [&](const Graphed::Tensors& t) {
      const NoisyInput noisy = noisyInput(model_, source, unflattened(t)[0], teacher, cancellation);
      std::vector<at::Tensor> results;
      if (generates) results.push_back(source.stopAtTimestep ? noisy.input.xt : noisy.x0);
      if (predicts) results.push_back(model_.predict(*teacher, noisy.input));
      return at::cat(results);
    });
    const auto ofStep = [&](int64_t result, int64_t step) {
      return computed.narrow(0, (result * several + step) * count, count);
    };
    for (int64_t k = 0; k < static_cast<int64_t>(drawn_.size()); ++k) {
      Draws& draws = drawn_[static_cast<size_t>(k)][i];
      if (generates) {
        draws.x0 = ofStep(0, k);
        draws.z = draws.stepNoise = at::Tensor();
      }
      if (predicts) draws.prediction = ofStep(generates ? 1 : 0, k);
    }
  }
}

at::Tensor Session::step(const std::vector<at::Tensor>& draws, const Cancellation& cancellation) {
  const Losses losses = step_.compute(config_.objective, unflattened(draws), cancellation, config_.accumulate);
  const at::Tensor values =
      at::cat({losses.terms, losses.penalties, losses.total.unsqueeze(0), losses.gradNorm.unsqueeze(0)})
          .to(at::kDouble);
  // On CUDA looking would hold up the device.
  if (model_.how.device.is_cpu()) checkFinite(values.const_data_ptr<double>(), state_.position().step + 1);
  step_.update(config_.optimizer);
  return values;
}

void Session::checkFinite(const double* values, int64_t step) const {
  const auto& [sources, terms, penalties] = config_.objective;
  const std::string at = " is not finite at step " + std::to_string(step) + " of the learner";
  for (size_t i = 0; i < terms.size(); ++i) {
    if (std::isfinite(*values++)) continue;
    throw Error("ERR_DIVERGED", "the loss" + at + ", term '" + describe(config_.objective, i) +
                                    "'. Lower the learning rate or the term's weight.");
  }
  for (const Penalty& penalty : penalties) {
    if (std::isfinite(*values++)) continue;
    throw Error("ERR_DIVERGED",
                "the penalty '" + penalty.name + "'" + at + ". Lower the learning rate or the penalty's strength.");
  }
  ++values;  // the total
  if (!std::isfinite(*values)) throw Error("ERR_DIVERGED", "the gradient" + at + ". Lower the learning rate.");
}

TrainReport Session::run(int64_t steps, double seconds, const Cancellation& cancellation) {
  // Operators between the team's rounds must not wake threads that would then spin beside the team's.
  const ThreadScope threads(team_.threadsEach());
  step_.requireTeacher(config_.objective);
  requireReplay();
  if (replacements_ != state_.replacements()) forget();
  if (drawnFor_ != state_.position()) drawn_.clear();

  const auto start = std::chrono::steady_clock::now();
  const auto sinceStart = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  const int64_t before = state_.position().step;
  std::vector<at::Tensor> all;
  TrainReport report;
  RunAhead ahead(model_.how.device);
  const bool begins = !cancellation.requested();
  // On GPUs the ranks of a group don't look, step by step, whether another one stops: each takes all the steps that
  // they agreed on, and says that it stops when they next agree.
  const bool takesAll = group_.size > 1 && model_.how.device.is_cuda();
  const Cancellation within = takesAll ? Cancellation(nullptr, nullptr) : cancellation;
  try {
    if (group_.size > 1 && begins) {
      // Before the first step nothing is known of how long one takes.
      const double some = std::clamp(seconds / (secondsEach_ > 0 ? secondsEach_ : 1), 1.0, 1e6);
      steps = step_.agree(config_.objective.terms.size(), std::min(steps, static_cast<int64_t>(some)), cancellation);
    }
    while (begins && static_cast<int64_t>(all.size()) < steps && !within.requested()) {
      if (drawn_.empty()) drawOrStop(steps - static_cast<int64_t>(all.size()), within);
      const std::vector<at::Tensor> draws = flattened(drawn_.front());
      drawn_.pop_front();
      const double rate = config_.learningRate.after(state_.position().taskStep);
      state_.setRates(rate);
      all.push_back(recorded_(draws, [&](const Graphed::Tensors& inputs) { return step(inputs, within); }));
      report.learningRates.push_back(rate);
      state_.advance();
      drawnFor_ = state_.position();
      ahead.launched();
      if (group_.size == 1 && sinceStart() >= seconds) break;
    }
    if (!all.empty()) secondsEach_ = sinceStart() / static_cast<double>(all.size());
    if (cancellation.requested() && static_cast<int64_t>(all.size()) < steps) stop(cancellation);
  } catch (const Cancelled&) {
    stopped_ = true;
    drawn_.clear();
    state_.gradNorm.reset();
  } catch (...) {
    stopped_ = true;
    drawn_.clear();
    state_.gradNorm.reset();  // what diverged must not be applied by a later `update`
    throw;
  }
  report.steps = static_cast<int64_t>(all.size());
  report.graphFailure = recorded_.failure();
  for (const auto& [source, graphed] : ahead_) {
    if (report.graphFailure.empty()) report.graphFailure = graphed.failure();
  }
  if (all.empty()) return report;
  const at::Tensor host = at::stack(all).to(at::kCPU);
  const double* values = host.const_data_ptr<double>();
  const size_t terms = config_.objective.terms.size(), penalties = config_.objective.penalties.size();
  for (int64_t i = 0; i < report.steps; ++i, values += terms + penalties + 2) {
    if (!model_.how.device.is_cpu()) checkFinite(values, before + i + 1);
    report.terms.insert(report.terms.end(), values, values + terms);
    report.penalties.insert(report.penalties.end(), values + terms, values + terms + penalties);
    report.losses.push_back(values[terms + penalties]);
    report.gradNorms.push_back(values[terms + penalties + 1]);
  }
  return report;
}

}  // namespace continual
