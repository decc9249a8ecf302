#include "training/draws.h"

namespace continual {

namespace {

// x_t of pure noise for a teacher's prediction at a drawn t. Natural images grow symmetric structure as t falls, so the
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

at::Tensor dropoutKeys(Random& random, int64_t count) { return random.integers(count, 0, int64_t{1} << 31); }

std::vector<at::Tensor> flattened(const std::vector<Draws>& draws) {
  std::vector<at::Tensor> result;
  for (const Draws& d : draws) {
    for (const DrawsField& field : drawsFields) result.push_back(d.*field.tensor);
  }
  return result;
}

std::vector<Draws> unflattened(const std::vector<at::Tensor>& tensors) {
  std::vector<Draws> result(tensors.size() / drawsFields.size());
  for (size_t i = 0; i < tensors.size(); ++i) {
    result[i / drawsFields.size()].*drawsFields[i % drawsFields.size()].tensor = tensors[i];
  }
  return result;
}

std::vector<Draws> Drawer::draw(const std::vector<Source>& sources, const Position& at) {
  Random random(at.seed, Purpose::training, static_cast<uint64_t>(at.step));
  std::vector<Draws> result;
  for (const Source& source : sources) result.push_back(draw(source, at, random));
  return result;
}

at::Tensor Drawer::told(const at::Tensor& classes, Random& random) const {
  const double dropout = batches_.labels.dropout;
  if (dropout == 0) return classes;
  const at::Tensor dropped = toDevice(random.uniform({classes.size(0)}, 0, 1) < dropout, classes.device());
  return classes.masked_fill(dropped, model_.unet.nullLabel());
}

at::Tensor Drawer::timesteps(const Source& source, Random& random) const {
  const int64_t count = batches_.batchSize;
  if (source.distribution < 0) return random.integers(count, source.from, source.to);
  const auto& [cumulative, stratified] = batches_.distributions[static_cast<size_t>(source.distribution)];
  at::Tensor u = random.uniform({count}, 0, 1).to(at::kDouble);
  if (stratified) u = (u + at::tensor(random.permutation(count), at::kDouble)) / count;
  const int64_t last = source.to - source.from - 1;
  const at::Tensor place = at::searchsorted(cumulative, u * cumulative[last], /*out_int32=*/false, /*right=*/true);
  return source.from + place.clamp_max(last);
}

Draws Drawer::draw(const Source& source, const Position& at, Random& random) {
  const auto& [task, memory, count, flips, labels, replay, distributions] = batches_;
  const std::vector<int64_t> shape = model_.imageShape(count);
  Draws draws;
  at::Tensor classes;
  const auto withReplacement = [&](const Pool& pool) {
    const at::Tensor drawn = random.integers(count, 0, pool.size());
    return std::vector<int64_t>(drawn.const_data_ptr<int64_t>(), drawn.const_data_ptr<int64_t>() + count);
  };
  if (source.isReal()) {
    const bool isTask = source.kind == SourceKind::task;
    const Pool& pool = isTask ? task : memory;
    const std::vector<int64_t> positions =
        isTask ? epochs_.batch(at.seed, at.step - at.taskStep, pool.size(), count, at.taskStep) : withReplacement(pool);
    draws.x0 = pool.images(positions);
    if (source.labelled) classes = pool.labels(positions);
    if (flips) draws.x0 = flipHorizontally(draws.x0, random.integers(count, 0, 2).to(at::kBool));
  }
  if (source.pool >= 0) {
    const Pool& pool = replay[static_cast<size_t>(source.pool)];
    const std::vector<int64_t> positions = withReplacement(pool);
    draws.x0 = pool.images(positions);
    const at::Tensor numbers = pool.labels(positions);
    const int64_t total = model_.schedule.timesteps();
    if (source.stopAtTimestep) draws.timesteps = numbers.remainder(total);  // ≥ 0 and < T, whatever they are
    if (source.labelled) classes = source.stopAtTimestep ? numbers.div(total, "floor") : numbers;
  } else if (source.labelled && !source.isReal()) {
    classes =
        at::searchsorted(labels.weights.cumsum(0), random.uniform({count}, 0, 1).to(at::kDouble) * labels.weights.sum(),
                         /*out_int32=*/false, /*right=*/true);
    if (source.generates()) draws.classes = classes;
  }
  if (source.labelled) draws.labels = told(classes, random);
  if (!draws.timesteps.defined()) draws.timesteps = timesteps(source, random);
  if (source.addsNoise()) draws.noise = model_.normal(random, shape);
  if (source.generates() || source.kind == SourceKind::gaussian) draws.z = model_.normal(random, shape);
  if (source.symmetric) {
    draws.timesteps = toDevice(draws.timesteps, model_.how.device);
    draws.z = mirrored(draws.z, draws.timesteps, model_.schedule.timesteps());
  }
  if (source.generates() && source.sampler.noises() > 0) {
    std::vector<int64_t> noises = shape;
    noises.insert(noises.begin(), source.sampler.noises());
    draws.stepNoise = model_.normal(random, noises);
  }
  if (source.dropsOut) draws.dropout = dropoutKeys(random, count);
  return draws.with([&](const at::Tensor& t, int64_t images) {
    return toDevice(group_.size == 1 ? t : group_.share(t, images), model_.how.device);
  });
}

}  // namespace continual
