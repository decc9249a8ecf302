#include "training/objective_loss.h"

#include <c10/core/GradMode.h>

namespace continual {

namespace {

/// The images of a teacher's source: clean, or where each stops.
at::Tensor generate(const DiffusionModel& model, const Source& source, const Draws& draws, const Weights& teacher,
                    const Cancellation& cancellation) {
  return sample({
      .schedule = model.schedule,
      .parametrisation = model.parametrisation,
      .config = source.sampler,
      .predict =
          [&](const ModelInput& input) {
            return guided([&](const ModelInput& asked) { return model.predict(teacher, asked); }, nullptr,
                          {input.xt, input.timesteps, draws.classes}, source.sampler.guidance, model.unet.nullLabel());
          },
      .start = draws.z,
      .noise = [&](int64_t i) { return draws.stepNoise.select(0, i); },
      .stop = source.stopAtTimestep ? draws.timesteps : at::Tensor(),
      .watch = [&](int64_t, const at::Tensor&) { cancellation.check(); },
  });
}

}  // namespace

NoisyInput noisyInput(const DiffusionModel& model, const Source& source, const Draws& draws, const Weights* teacher,
                      const Cancellation& cancellation) {
  const at::Tensor& t = draws.timesteps;
  if (source.kind == SourceKind::gaussian) return {{draws.z, t, draws.labels}, {}};
  const bool generates = source.kind == SourceKind::teacher && !draws.x0.defined();
  const at::Tensor x0 = generates ? generate(model, source, draws, *teacher, cancellation) : draws.x0;
  if (source.stopAtTimestep) return {{x0, t, draws.labels}, {}};
  return {{model.schedule.addNoise(x0, draws.noise, t), t, draws.labels}, x0};
}

TermLosses objectiveLoss(const DiffusionModel& model, const Objective& objective, const std::vector<Draws>& draws,
                         const Weights& student, const Weights* teacher, const Cancellation& cancellation) {
  std::vector<NoisyInput> noisy;
  std::vector<at::Tensor> xts, timesteps, labels, dropout, teacherPredictions;
  {
    const c10::NoGradGuard noGrad;
    for (size_t i = 0; i < objective.sources.size(); ++i) {
      noisy.push_back(noisyInput(model, objective.sources[i], draws[i], teacher, cancellation));
      xts.push_back(noisy[i].input.xt);
      timesteps.push_back(noisy[i].input.timesteps);
      if (noisy[i].input.labels.defined()) labels.push_back(noisy[i].input.labels);
      if (draws[i].dropout.defined()) dropout.push_back(draws[i].dropout);
      teacherPredictions.push_back(draws[i].prediction);  // where it was computed ahead
    }
    for (const Term& term : objective.terms) {
      at::Tensor& prediction = teacherPredictions[term.source];
      if (term.target == Target::teacher && !prediction.defined()) {
        cancellation.check();
        prediction = model.predict(*teacher, noisy[term.source].input);
      }
    }
    cancellation.check();
  }
  const auto joined = [](const std::vector<at::Tensor>& parts) {
    return parts.empty() ? at::Tensor() : at::cat(parts);
  };
  const at::Tensor predictions =
      model.predict(student, {at::cat(xts), at::cat(timesteps), joined(labels), {}, joined(dropout)});

  std::vector<at::Tensor> bySource;
  int64_t start = 0;
  for (const at::Tensor& xt : xts) {
    bySource.push_back(predictions.narrow(0, start, xt.size(0)));
    start += xt.size(0);
  }
  at::Tensor total;
  std::vector<at::Tensor> terms;
  for (const Term& term : objective.terms) {
    const size_t i = term.source;
    const at::Tensor target = term.target == Target::teacher ? teacherPredictions[i]
                                                             : model.target(noisy[i].x0, draws[i].noise, timesteps[i]);
    terms.push_back(model.loss(term.loss, bySource[i], target, timesteps[i]));
    const at::Tensor weighted = terms.back() * term.weight;
    total = total.defined() ? total + weighted : weighted;
  }
  return {total, at::stack(terms)};
}

}  // namespace continual
