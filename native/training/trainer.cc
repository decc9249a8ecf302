#include "training/trainer.h"

#include <ATen/Parallel.h>
#include <c10/core/GradMode.h>

#include <algorithm>
#include <cmath>
#include <mutex>

#include "nn/cuda/functions.h"
#include "runtime/error.h"

namespace continual {

namespace {

at::Tensor freshWeights(const ParameterLayout& layout, const Compute& how, uint64_t seed) {
  Random random(seed, Purpose::initialisation, 0);
  return layout.initialise(random).to(how.device);
}

// x_t of pure noise for a teacher to answer at a drawn t. Natural images grow symmetric structure as t falls, so the
// paper's symmetric kind mirrors the noise: below 2/3 of the timesteps across one axis (half of those images each),
// below 1/3 across both.
at::Tensor mirrored(const at::Tensor& noise, const at::Tensor& timesteps, int64_t total) {
  const int64_t height = noise.size(2), width = noise.size(3);
  const auto across = [](const at::Tensor& x, int64_t dim, int64_t length) {
    const at::Tensor second = x.narrow(dim, length / 2, length - length / 2);
    return at::cat({second.flip(dim).narrow(dim, 0, length / 2), second}, dim);
  };
  const at::Tensor low = timesteps <= total / 3;
  const at::Tensor middle = (timesteps <= total * 2 / 3) & (timesteps > total / 3);
  const at::Tensor rank = middle.to(at::kLong).cumsum(0);
  const at::Tensor isFirstHalf = 2 * rank <= rank.narrow(0, rank.size(0) - 1, 1);
  const auto pick = [](const at::Tensor& flags) { return flags.view({-1, 1, 1, 1}); };
  const at::Tensor vertical = at::where(pick(low | (middle & isFirstHalf)), across(noise, 2, height), noise);
  const at::Tensor horizontal = low | (middle & ~isFirstHalf);
  return at::where(pick(horizontal), across(vertical, 3, width), vertical);
}

}  // namespace

Trainer::Trainer(const UNetConfig& unet, const ScheduleConfig& schedule, const Compute& compute, uint64_t seed,
                 double emaDecay)
    : how_(compute),
      unet_(unet, compute.memoryFormat()),
      schedule_(schedule, compute.device),
      emaDecay_(emaDecay),
      student_(unet_.layout(), freshWeights(unet_.layout(), compute, seed), compute),
      adam_(student_.master),
      team_(compute.device.is_cpu() ? Team::forThisMachine() : Team(1, at::get_num_threads())),
      gradient_(unet_.layout(), student_.master),
      recorded_{Graphed(compute.device), {}, {}},
      seed_(seed) {
  if (emaDecay_ > 0) makeEma();
}

void Trainer::makeEma() {
  ema_.emplace(unet_.layout(), student_.master.clone(), how_);
  hasEma_ = true;
}

void Trainer::makeTeacher() {
  // Made before the old one goes, which stays where there is no memory for another.
  WeightSet frozen(unet_.layout(), master(ema_ ? Slot::ema : Slot::student).clone(), how_);
  teacher_ = std::move(frozen);
  hasTeacher_ = true;
  recorded_.step.reset();
  forgetAhead();
  const auto answers = answers_.find(Slot::teacher);
  if (answers != answers_.end()) answers->second.reset();
}

std::vector<int64_t> Trainer::imageShape(int64_t count) const {
  const UNetConfig& c = unet_.config();
  return {count, c.inChannels, c.sampleSize, c.sampleSize};
}

at::Tensor Trainer::forward(const Weights& weights, const at::Tensor& xt, const at::Tensor& timesteps) const {
  return unet_(weights, xt.to(how_.dtype), timesteps).to(at::kFloat);
}

at::Tensor Trainer::normal(Random& random, at::IntArrayRef shape) const {
  if (const auto own = cuda::normal(random, shape, how_.device)) return *own;
  return toDevice(random.normal(shape), how_.device);
}

Draws Trainer::draw(const Source& source, const Batches& batches, int64_t ahead, Random& random) {
  const int64_t count = batches.batchSize;
  const std::vector<int64_t> shape = imageShape(count);
  Draws draws;
  if (source.kind == SourceKind::task || source.kind == SourceKind::memory) {
    const bool task = source.kind == SourceKind::task;
    const Pool& pool = task ? batches.task : batches.memory;
    std::vector<int64_t> positions;
    if (task) {
      positions = epochs_.batch(seed_, step_ - optimizerStep_, pool.size(), count, optimizerStep_ + ahead);
    } else {  // the memory is small and the batch as large as the task's: drawn with replacement
      const at::Tensor drawn = random.integers(count, 0, pool.size());
      positions.assign(drawn.const_data_ptr<int64_t>(), drawn.const_data_ptr<int64_t>() + count);
    }
    draws.x0 = pool.images(positions);
    if (batches.horizontalFlip) draws.x0 = flipHorizontally(draws.x0, random.integers(count, 0, 2).to(at::kBool));
  }
  draws.timesteps = random.integers(count, source.from, source.to);
  const bool addsNoise = source.kind != SourceKind::gaussian && !source.stopAtTimestep;
  if (addsNoise) draws.noise = normal(random, shape);
  if (source.kind == SourceKind::teacher || source.kind == SourceKind::gaussian) draws.z = normal(random, shape);
  if (source.symmetric) {
    draws.timesteps = toDevice(draws.timesteps, how_.device);
    draws.z = mirrored(draws.z, draws.timesteps, schedule_.config().timesteps);
  }
  if (source.kind == SourceKind::teacher && source.eta > 0) {
    std::vector<int64_t> stepShape = shape;
    stepShape.insert(stepShape.begin(), source.steps);
    draws.etaNoise = normal(random, stepShape);
  }
  return draws.with([this](const at::Tensor& t, int64_t) { return toDevice(t, how_.device); });
}

std::vector<Draws> Trainer::draw(const Objective& objective, const Batches& batches, int64_t ahead) {
  Random random(seed_, Purpose::training, static_cast<uint64_t>(step_ + ahead));
  std::vector<Draws> result;
  for (const Source& source : objective.sources) result.push_back(draw(source, batches, ahead, random));
  return result;
}

std::deque<std::vector<Draws>> Trainer::drawSeveral(const Objective& objective, const Batches& batches, int64_t most,
                                                    const Cancellation& cancellation) {
  // A GPU takes much less time for each image of a large batch. The last is repeated where fewer steps are left, so
  // that a graph always fits, and an image does not depend on how many there are.
  constexpr int64_t enoughPixels = 1 << 19, mostSteps = 8;
  const int64_t side = unet_.config().sampleSize, count = batches.batchSize;
  int64_t pixels = std::max<int64_t>(count, 1) * side * side;
  for (const Source& source : objective.sources) {
    if (source.eta > 0) pixels = std::max(pixels, count * side * side * source.steps);  // noise of every sampler step
  }
  const int64_t several =
      how_.device.is_cuda() && looksAhead_ ? std::clamp<int64_t>(enoughPixels / pixels, 1, mostSteps) : 1;
  std::deque<std::vector<Draws>> steps;
  for (int64_t i = 0; i < std::min(several, most); ++i) steps.push_back(draw(objective, batches, i));
  if (several == 1) return steps;
  try {
    lookAhead(objective, several, steps, cancellation);
  } catch (const c10::OutOfMemoryError&) {  // a single step may have room
    forgetAhead();
    looksAhead_ = false;
    return {draw(objective, batches, 0)};
  }
  return steps;
}

void Trainer::forgetAhead() {
  for (auto& [source, graphed] : ahead_) graphed.reset();
  looksAhead_ = true;
}

void Trainer::lookAhead(const Objective& objective, int64_t several, std::deque<std::vector<Draws>>& steps,
                        const Cancellation& cancellation) {
  const c10::NoGradGuard noGrad;
  const PrecisionScope precision(how_);
  const int64_t count = steps[0][0].timesteps.size(0);
  for (size_t i = 0; i < objective.sources.size(); ++i) {
    const Source& source = objective.sources[i];
    const bool generates = source.kind == SourceKind::teacher;
    const bool predicts = std::any_of(objective.terms.begin(), objective.terms.end(), [&](const Term& term) {
      return term.source == i && term.target == Target::teacher;
    });
    if (!generates && !predicts) continue;
    Graphed::Tensors inputs;
    for (size_t field = 0; field < Draws::fields; ++field) {
      std::vector<at::Tensor> all;
      for (std::vector<Draws>& step : steps) all.push_back(step[i].field(field));
      all.resize(static_cast<size_t>(several), all.back());
      inputs.push_back(all[0].defined() ? at::cat(all, Draws::imagesOf(field)) : at::Tensor());
    }
    Graphed& graphed = ahead_.try_emplace(i, how_.device).first->second;
    const at::Tensor computed = graphed(inputs, [&](const Graphed::Tensors& t) {
      const Draws draws = Draws::from(t, 0);
      const Noisy input = noisy(source, draws, cancellation);
      std::vector<at::Tensor> results;
      if (generates) results.push_back(source.stopAtTimestep ? input.xt : input.x0);
      if (predicts) results.push_back(forward(teacher_->views, input.xt, draws.timesteps));
      return at::cat(results);
    });
    const auto ofStep = [&](int64_t result, int64_t step) {
      return computed.narrow(0, (result * several + step) * count, count);
    };
    for (int64_t k = 0; k < static_cast<int64_t>(steps.size()); ++k) {
      Draws& draws = steps[static_cast<size_t>(k)][i];
      if (generates) {
        draws.x0 = ofStep(0, k);
        draws.z = draws.etaNoise = at::Tensor();
      }
      if (predicts) draws.prediction = ofStep(generates ? 1 : 0, k);
    }
  }
}

at::Tensor Trainer::generate(const Source& source, const Draws& draws, const Cancellation& cancellation) const {
  const SamplerConfig sampler{SamplerKind::ddim, source.steps, source.eta, /*clip=*/true, Spacing::trailing};
  const auto denoise = [this](const at::Tensor& x, const at::Tensor& t) { return forward(teacher_->views, x, t); };
  const auto noise = [&](int64_t step) { return draws.etaNoise.select(0, step); };
  const at::Tensor stop = source.stopAtTimestep ? draws.timesteps : at::Tensor();
  return continual::sample(schedule_, sampler, denoise, draws.z, noise, stop, cancellation);
}

Trainer::Noisy Trainer::noisy(const Source& source, const Draws& draws, const Cancellation& cancellation) const {
  if (source.kind == SourceKind::gaussian) return {draws.z, {}};
  const bool generates = source.kind == SourceKind::teacher && !draws.x0.defined();
  const at::Tensor x0 = generates ? generate(source, draws, cancellation) : draws.x0;
  if (source.stopAtTimestep) return {x0, {}};
  return {schedule_.addNoise(x0, draws.noise, draws.timesteps), x0};
}

Trainer::Sums Trainer::evaluate(const Objective& objective, const std::vector<Draws>& draws, const Weights& weights,
                                const Cancellation& cancellation) const {
  std::vector<Noisy> inputs;
  std::vector<at::Tensor> xts, timesteps, teacherAnswers(objective.sources.size());
  {
    const c10::NoGradGuard noGrad;
    for (size_t i = 0; i < objective.sources.size(); ++i) {
      inputs.push_back(noisy(objective.sources[i], draws[i], cancellation));
      xts.push_back(inputs[i].xt);
      timesteps.push_back(draws[i].timesteps);
      teacherAnswers[i] = draws[i].prediction;  // where it was computed ahead
    }
    for (const Term& term : objective.terms) {
      at::Tensor& answer = teacherAnswers[term.source];
      if (term.target == Target::teacher && !answer.defined()) {
        cancellation.check();
        answer = forward(teacher_->views, xts[term.source], timesteps[term.source]);
      }
    }
    cancellation.check();
  }
  const at::Tensor answers = forward(weights, at::cat(xts), at::cat(timesteps));

  std::vector<at::Tensor> bySource;
  int64_t start = 0;
  for (const at::Tensor& xt : xts) {
    bySource.push_back(answers.narrow(0, start, xt.size(0)));
    start += xt.size(0);
  }
  at::Tensor total;
  std::vector<at::Tensor> terms;
  for (const Term& term : objective.terms) {
    const size_t i = term.source;
    const at::Tensor target = term.target == Target::teacher
                                  ? teacherAnswers[i]
                                  : schedule_.target(inputs[i].x0, draws[i].noise, timesteps[i]);
    terms.push_back(loss(term.loss, bySource[i], target, timesteps[i], schedule_));
    const at::Tensor weighted = terms.back() * term.weight;
    total = total.defined() ? total + weighted : weighted;
  }
  return {total, at::stack(terms)};
}

void Trainer::requireTeacher(const Objective& objective) const {
  if (!objective.needsTeacher() || teacher_) return;
  throw Error("ERR_INVALID_ARGUMENT", "the objective has a teacher, but none was frozen: learn a task first");
}

Losses Trainer::compute(const Objective& objective, const std::vector<Draws>& draws, const Cancellation& cancellation) {
  requireTeacher(objective);
  return backward(
      draws.front().timesteps.size(0),
      [&](int64_t first, int64_t length, const Weights& weights) {
        std::vector<Draws> part;
        for (const Draws& whole : draws) {
          part.push_back(whole.with([&](const at::Tensor& t, int64_t dim) { return t.narrow(dim, first, length); }));
        }
        return evaluate(objective, part, weights, cancellation);
      },
      objective.penalties);
}

Losses Trainer::compute(const at::Tensor& xt, const at::Tensor& timesteps, const at::Tensor& target,
                        const at::Tensor& weight) {
  return backward(xt.size(0),
                  [&](int64_t first, int64_t length, const Weights& weights) -> Sums {
                    const auto cut = [&](const at::Tensor& t) { return t.narrow(0, first, length); };
                    const at::Tensor error =
                        (forward(weights, cut(xt), cut(timesteps)) - cut(target)).square().flatten(1).mean(1);
                    const at::Tensor total = (error * cut(weight)).mean();
                    return {total, total.unsqueeze(0)};
                  },
                  {});
}

Losses Trainer::backward(int64_t count, const Part& part, const std::vector<Penalty>& penalties) {
  if (count < 1) throw Error("ERR_INVALID_ARGUMENT", "a batch needs at least one image");
  const PrecisionScope precision(how_);
  const int64_t parts = std::min(team_.size(), count);
  std::vector<Sums> sums(static_cast<size_t>(parts));
  gradient_.begin(parts);
  team_.run(parts, [&](int64_t member) {
    const int64_t first = count * member / parts, length = count * (member + 1) / parts - first;
    const double share = static_cast<double>(length) / static_cast<double>(count);
    gradient_.add(member, student_.views, [&](const Weights& weights) {
      const Sums own = part(first, length, weights);
      const at::Tensor total = own.total * share;
      sums[static_cast<size_t>(member)] = {total.detach(), own.terms.detach() * share};
      return total;
    });
  });

  const c10::NoGradGuard noGrad;
  for (int64_t member = 1; member < parts; ++member) {
    sums[0].total += sums[static_cast<size_t>(member)].total;
    sums[0].terms += sums[static_cast<size_t>(member)].terms;
  }
  const std::vector<Penalties::Cost> costs =
      penalties_.costs(penalties, student_.master, [this](const auto& work) { overWeights(work); });
  std::vector<at::Tensor> values;
  for (const Penalties::Cost& cost : costs) {
    values.push_back(cost.value.to(at::kFloat));
    sums[0].total += values.back() * cost.strength;
  }
  std::mutex mutex;
  std::vector<std::pair<int64_t, at::Tensor>> squares;  // by range, so that they are added in one order
  overWeights([&](int64_t begin, int64_t end) {
    const at::Tensor sum = gradient_.flat().slice(0, begin, end);
    if (path_) path_.gradient.slice(0, begin, end).copy_(sum);
    Penalties::addGradient(costs, student_.master, gradient_.flat(), begin, end);
    const at::Tensor square = gradientNorm(sum).square();
    const std::lock_guard lock(mutex);
    squares.emplace_back(begin, square);
  });
  std::sort(squares.begin(), squares.end(), [](const auto& a, const auto& b) { return a.first < b.first; });
  gradNorm_ = squares[0].second;
  for (size_t i = 1; i < squares.size(); ++i) gradNorm_ = gradNorm_ + squares[i].second;
  gradNorm_ = gradNorm_.sqrt();
  const at::Tensor none = at::empty({0}, sums[0].terms.options());
  return {sums[0].total, sums[0].terms, values.empty() ? none : at::stack(values), gradNorm_};
}

void Trainer::overWeights(const std::function<void(int64_t begin, int64_t end)>& work) {
  const int64_t total = unet_.layout().total(), parts = team_.size();
  team_.run(parts, [&](int64_t member) {
    const c10::NoGradGuard noGrad;
    work(total * member / parts, total * (member + 1) / parts);
  });
}

void Trainer::update(const OptimizerConfig& optimizer) {
  if (!gradNorm_.defined()) {
    throw Error("ERR_INVALID_ARGUMENT", "there is no gradient to apply: compute comes before update");
  }
  applyGradient(optimizer);
  ++step_;
  ++optimizerStep_;
}

void Trainer::applyGradient(const OptimizerConfig& optimizer) {
  adam_.begin();
  overWeights([&](int64_t begin, int64_t end) {
    const auto part = [&](const at::Tensor& t) { return t.slice(0, begin, end); };
    if (path_) part(path_.before).copy_(part(student_.master));
    adam_.update(student_.master, gradient_.flat(), gradNorm_, optimizer, begin, end);
    student_.refresh(begin, end);
    if (path_) {
      part(path_.integral).addcmul_(part(path_.gradient), part(student_.master) - part(path_.before), -1);
    }
    if (ema_) {
      part(ema_->master).lerp_(part(student_.master), 1 - emaDecay_);
      ema_->refresh(begin, end);
    }
  });
  gradNorm_.reset();
}

at::Tensor Trainer::step(const Objective& objective, const std::vector<Draws>& draws, const OptimizerConfig& optimizer,
                         const std::function<void(const double* values)>& check, const Cancellation& cancellation) {
  const Losses losses = compute(objective, draws, cancellation);
  const at::Tensor values =
      at::cat({losses.terms, losses.penalties, losses.total.unsqueeze(0), losses.gradNorm.unsqueeze(0)})
          .to(at::kDouble);
  if (how_.device.is_cpu()) check(values.const_data_ptr<double>());
  applyGradient(optimizer);
  return values;
}

TrainReport Trainer::train(const Objective& objective, const Batches& batches, int64_t steps,
                           const OptimizerConfig& optimizer, const Cancellation& cancellation) {
  // Operators between the team's rounds must not wake threads that would then spin beside the team's.
  const ThreadScope threads(team_.threadsEach());
  const auto terms = static_cast<int64_t>(objective.terms.size());
  const auto penalties = static_cast<int64_t>(objective.penalties.size());
  const int64_t total = terms + penalties, norm = total + 1;  // where they stand among a step's values
  const auto diverged = [&](const double* values, int64_t step) {
    const std::string at = " is not finite at step " + std::to_string(step) + " of the learner";
    for (int64_t i = 0; i < terms; ++i) {
      if (!std::isfinite(values[i])) {
        throw Error("ERR_DIVERGED", "the loss" + at + ", term '" + describe(objective, static_cast<size_t>(i)) +
                                        "'. Lower the learning rate or the term's weight.");
      }
    }
    for (int64_t i = 0; i < penalties; ++i) {
      if (!std::isfinite(values[terms + i])) {
        throw Error("ERR_DIVERGED", "the penalty '" + objective.penalties[static_cast<size_t>(i)].name + "'" + at +
                                        ". Lower the learning rate or the penalty's strength.");
      }
    }
    if (!std::isfinite(values[norm])) {
      throw Error("ERR_DIVERGED", "the gradient" + at + ". Lower the learning rate.");
    }
  };
  requireTeacher(objective);
  if (objective != recorded_.objective || optimizer != recorded_.optimizer) {
    recorded_.step.reset();
    forgetAhead();
    recorded_.objective = objective;
    recorded_.optimizer = optimizer;
  }
  const auto recordable = [&](const std::vector<at::Tensor>& inputs) {
    std::vector<Draws> draws;
    for (size_t i = 0; i < inputs.size(); i += Draws::fields) draws.push_back(Draws::from(inputs, i));
    return step(objective, draws, optimizer, [&](const double* v) { diverged(v, step_ + 1); }, cancellation);
  };
  const int64_t before = step_;
  std::vector<at::Tensor> all;
  std::deque<std::vector<Draws>> drawn;
  RunAhead ahead(how_.device);
  try {
    while (static_cast<int64_t>(all.size()) < steps && !cancellation.requested()) {
      if (drawn.empty()) {
        drawn = drawSeveral(objective, batches, steps - static_cast<int64_t>(all.size()), cancellation);
      }
      std::vector<at::Tensor> inputs;
      for (Draws& draws : drawn.front()) {
        for (size_t field = 0; field < Draws::fields; ++field) inputs.push_back(draws.field(field));
      }
      drawn.pop_front();
      all.push_back(recorded_.step(inputs, recordable));
      ++step_;
      ++optimizerStep_;
      ahead.launched();
    }
  } catch (const Cancelled&) {
    gradNorm_.reset();
  } catch (...) {
    gradNorm_.reset();  // what diverged must not be applied by a later `update`
    throw;
  }
  TrainReport report;
  report.steps = static_cast<int64_t>(all.size());
  report.graphFailure = recorded_.step.failure();
  for (const auto& [source, graphed] : ahead_) {
    if (report.graphFailure.empty()) report.graphFailure = graphed.failure();
  }
  if (all.empty()) return report;
  const at::Tensor host = at::stack(all).to(at::kCPU);
  const double* values = host.const_data_ptr<double>();
  for (int64_t i = 0; i < report.steps; ++i, values += norm + 1) {
    if (!how_.device.is_cpu()) diverged(values, before + i + 1);
    report.terms.insert(report.terms.end(), values, values + terms);
    report.penalties.insert(report.penalties.end(), values + terms, values + total);
    report.losses.push_back(values[total]);
    report.gradNorms.push_back(values[norm]);
  }
  return report;
}

void Trainer::resetOptimizer() {
  adam_.reset();
  optimizerStep_ = 0;
}

void Trainer::freezeTeacher(double decay) {
  if (!teacher_ || decay == 0) return makeTeacher();
  const c10::NoGradGuard noGrad;
  teacher_->master.lerp_(master(ema_ ? Slot::ema : Slot::student), 1 - decay);
  teacher_->refresh(0, unet_.layout().total());
}

void Trainer::followPath(bool follow) {
  recorded_.step.reset();
  path_ = {};
  if (follow) path_.begin(student_.master);
  hasPath_ = follow;
}

Draws Trainer::drawSamples(const Consolidation& c, const Pool& pool) const {
  Random random(seed_, Purpose::consolidation, static_cast<uint64_t>(step_));
  const std::vector<int64_t> order = random.permutation(pool.size());
  std::vector<int64_t> positions;
  for (int64_t i = 0; i < c.samples; ++i) positions.push_back(order[static_cast<size_t>(i % pool.size())]);
  Draws draws;
  draws.x0 = pool.images(positions).to(how_.device);
  draws.timesteps = toDevice(random.integers(c.samples, c.from, c.to), how_.device);
  draws.noise = normal(random, imageShape(c.samples));
  return draws;
}

at::Tensor Trainer::meanOverSamples(const Draws& draws, at::IntArrayRef shape, at::ScalarType dtype,
                                    const std::function<void(const at::Tensor&, const at::Tensor&)>& add,
                                    const Cancellation& cancellation) {
  const PrecisionScope precision(how_);
  const int64_t count = draws.x0.size(0), parts = std::min(team_.size(), count);
  std::vector<at::Tensor> sums(static_cast<size_t>(parts));
  team_.run(parts, [&](int64_t member) {
    GradientSum gradient(unet_.layout(), student_.master);  // of one sample at a time
    at::Tensor& sum = sums[static_cast<size_t>(member)];
    sum = at::zeros(shape, student_.master.options().dtype(dtype));
    for (int64_t i = count * member / parts; i < count * (member + 1) / parts; ++i) {
      cancellation.check();
      const auto one = [i](const at::Tensor& t) { return t.narrow(0, i, 1); };
      const at::Tensor x0 = one(draws.x0), noise = one(draws.noise), t = one(draws.timesteps);
      gradient.begin(1);
      gradient.add(0, student_.views, [&](const Weights& weights) {
        const at::Tensor answer = forward(weights, schedule_.addNoise(x0, noise, t), t);
        return loss(Loss{}, answer, schedule_.target(x0, noise, t), t, schedule_);
      });
      const c10::NoGradGuard noGrad;
      add(gradient.flat(), sum);
    }
  });
  const c10::NoGradGuard noGrad;
  for (int64_t member = 1; member < parts; ++member) sums[0].add_(sums[static_cast<size_t>(member)]);
  return sums[0].div_(static_cast<double>(count));
}

at::Tensor Trainer::importance(const Consolidation& c, const Pool& pool, const Cancellation& cancellation) {
  if (c.estimate == Estimate::pathIntegral) {
    if (!path_) {
      throw Error("ERR_INVALID_ARGUMENT", "the penalty '" + c.name +
                                              "' needs the path that the weights took through the task, and none was "
                                              "followed");
    }
    const c10::NoGradGuard noGrad;
    return path_.integral / ((student_.master - path_.start).square() + c.damping);
  }
  const Draws draws = drawSamples(c, pool);
  const int64_t total = unet_.layout().total();
  if (c.estimate == Estimate::squaredGradients) {
    const auto square = [](const at::Tensor& gradient, const at::Tensor& sum) { sum.addcmul_(gradient, gradient); };
    return meanOverSamples(draws, {total}, at::kFloat, square, cancellation);
  }
  const auto self = [](const at::Tensor& gradient, const at::Tensor& sum) { sum.add_(gradient); };
  const at::Tensor mean = meanOverSamples(draws, {total}, at::kFloat, self, cancellation);
  const at::Tensor length = gradientNorm(mean);
  if (!c.optimal || length.item<double>() == 0) return mean;
  // min over f of ‖F − f·mean·meanᵀ‖, F the mean of g·gᵀ: f = meanᵀ·F·mean / ‖mean‖⁴.
  const auto projected = [&](const at::Tensor& gradient, const at::Tensor& sum) {
    sum.add_((gradient * mean).sum(at::kDouble).square());
  };
  const at::Tensor along = meanOverSamples(draws, {}, at::kDouble, projected, cancellation);
  return mean.mul_((along.sqrt() / length.square()).to(at::kFloat));
}

void Trainer::consolidate(const std::vector<Consolidation>& consolidations, const Pool& pool,
                          const Cancellation& cancellation) {
  recorded_.step.reset();
  const at::Tensor anchor = student_.master.clone();
  std::vector<Consolidated> results;
  for (const Consolidation& c : consolidations) {
    const at::Tensor measured = importance(c, pool, cancellation);
    const c10::NoGradGuard noGrad;
    results.push_back(penalties_.after(c, anchor, measured));
  }
  for (size_t i = 0; i < results.size(); ++i) penalties_.keep(consolidations[i].name, std::move(results[i]));
}

void Trainer::writePenalty(const std::string& name, Shape shape, const std::vector<at::Tensor>& anchor,
                           const std::vector<at::Tensor>& importance) {
  const c10::NoGradGuard noGrad;
  const Quadratic part{at::empty_like(student_.master), at::empty_like(student_.master)};
  unet_.layout().write(part.anchor, anchor);
  unet_.layout().write(part.importance, importance);
  penalties_.add(name, shape, part);
  recorded_.step.reset();
}

at::Tensor Trainer::predict(Slot slot, const at::Tensor& xt, const at::Tensor& timesteps) {
  const c10::NoGradGuard noGrad;
  PrecisionScope precision(how_);
  return forward(weights(slot).views, xt.to(how_.device), timesteps.to(how_.device));
}

at::Tensor Trainer::sample(Slot slot, int64_t count, int64_t batchSize, const SamplerConfig& sampler, uint64_t seed,
                           const at::Tensor& stop, bool pixels, const Cancellation& cancellation) {
  const c10::NoGradGuard noGrad;
  PrecisionScope precision(how_);
  const WeightSet& used = weights(slot);
  // Each stream is read on from batch to batch, so the numbers an image gets do not depend on the batch size.
  Random start(seed, Purpose::sampling, 0);
  std::vector<Random> stepNoise;
  for (int64_t i = 0; sampler.noisy() && i < sampler.steps; ++i) {
    stepNoise.emplace_back(seed, Purpose::samplingNoise, static_cast<uint64_t>(i));
  }
  const auto drawn = [&](Random& random, int64_t length) {
    const std::vector<int64_t> shape = imageShape(length);
    const int64_t size = shape[1] * shape[2] * shape[3], whole = (size + 3) / 4 * 4;  // numbers come in fours
    return normal(random, {length, whole}).narrow(1, 0, size).reshape(shape);
  };
  Graphed& graphed = answers_.try_emplace(slot, how_.device).first->second;
  const auto denoise = [&](const at::Tensor& x, const at::Tensor& t) {
    return graphed({x, t}, [&](const Graphed::Tensors& inputs) { return forward(used.views, inputs[0], inputs[1]); });
  };
  RunAhead ahead(how_.device);
  std::vector<at::Tensor> result;
  for (int64_t first = 0; first < count; first += batchSize) {
    const int64_t length = std::min(batchSize, count - first), parts = std::min(team_.size(), length);
    const at::Tensor starts = drawn(start, length);
    const at::Tensor stops = stop.defined() ? toDevice(stop.slice(0, first, first + length), how_.device) : stop;
    std::vector<at::Tensor> noises, images(static_cast<size_t>(parts));
    for (Random& random : stepNoise) noises.push_back(drawn(random, length));
    team_.run(parts, [&](int64_t member) {
      const c10::NoGradGuard noGradHere;
      const int64_t begin = length * member / parts, end = length * (member + 1) / parts;
      const auto part = [&](const at::Tensor& t) { return t.defined() ? t.slice(0, begin, end) : t; };
      const auto noise = [&](int64_t i) { return part(noises[static_cast<size_t>(i)]); };
      images[static_cast<size_t>(member)] =
          continual::sample(schedule_, sampler, denoise, part(starts), noise, part(stops), cancellation);
    });
    const at::Tensor all = at::cat(images);
    result.push_back(pixels ? toPixels(all) : all);
    ahead.launched();
  }
  return at::cat(result).to(at::kCPU);
}

bool Trainer::has(Slot slot) const {
  if (slot == Slot::ema) return hasEma_;
  if (slot == Slot::teacher) return hasTeacher_;
  if (slot == Slot::pathStart || slot == Slot::pathIntegral) return hasPath_;
  return slot != Slot::gradient;
}

const WeightSet& Trainer::weights(Slot slot) const {
  if (!has(slot)) {
    throw Error("ERR_INVALID_ARGUMENT",
                slot == Slot::ema ? "this learner keeps no EMA" : "this learner has no teacher");
  }
  return slot == Slot::ema ? *ema_ : slot == Slot::teacher ? *teacher_ : student_;
}

const at::Tensor& Trainer::master(Slot slot) const {
  if (slot == Slot::expAvg) return adam_.expAvg;
  if (slot == Slot::expAvgSq) return adam_.expAvgSq;
  if (slot == Slot::pathStart) return path_.start;
  if (slot == Slot::pathIntegral) return path_.integral;
  if (slot == Slot::gradient) return gradient_.flat();
  return weights(slot).master;
}

std::vector<at::Tensor> Trainer::read(Slot slot) const {
  if ((slot == Slot::pathStart || slot == Slot::pathIntegral) && !path_) {
    throw Error("ERR_INVALID_ARGUMENT", "this learner follows no path");
  }
  return unet_.layout().read(master(slot));
}

void Trainer::write(Slot slot, const std::vector<at::Tensor>& tensors) {
  const c10::NoGradGuard noGrad;
  if (slot == Slot::teacher && !teacher_) makeTeacher();
  if ((slot == Slot::pathStart || slot == Slot::pathIntegral) && !path_) followPath(true);
  if (slot == Slot::ema && !ema_) {
    throw Error("ERR_INVALID_ARGUMENT", "this learner keeps no EMA: create it with a decay above 0");
  }
  unet_.layout().write(master(slot), tensors);
  for (WeightSet* set : {&student_, ema_ ? &*ema_ : nullptr, teacher_ ? &*teacher_ : nullptr}) {
    if (set != nullptr) set->refresh(0, unet_.layout().total());
  }
}

int64_t Trainer::bytes() const {
  int64_t total = 0;
  const auto count = [&](const at::Tensor& t) { total += static_cast<int64_t>(t.nbytes()); };
  for (const WeightSet* set : {&student_, ema_ ? &*ema_ : nullptr, teacher_ ? &*teacher_ : nullptr}) {
    if (set == nullptr) continue;
    count(set->master);
    if (!set->compute.is_same(set->master)) count(set->compute);
  }
  count(adam_.expAvg);
  count(adam_.expAvgSq);
  total += penalties_.bytes() + path_.bytes();
  count(gradient_.flat());
  return total;
}

void Trainer::setState(uint64_t seed, int64_t step, int64_t optimizerStep) {
  seed_ = seed;
  step_ = step;
  optimizerStep_ = optimizerStep;
  adam_.step.fill_(static_cast<double>(optimizerStep));
}

}  // namespace continual
