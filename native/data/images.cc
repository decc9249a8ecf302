#include "data/images.h"

#include <algorithm>

#include "runtime/compute.h"
#include "runtime/error.h"

namespace continual {

std::shared_ptr<const Images> blackImages(const at::Tensor& labels, int64_t height, int64_t width, int64_t channels,
                                          const at::TensorOptions& options) {
  const at::Tensor pixels = at::zeros({labels.numel(), height, width, channels}, options);
  const std::pair range(labels.min().item<int64_t>(), labels.max().item<int64_t>());
  return std::make_shared<const Images>(Images{pixels, labels.to(at::kLong).to(options.device()), range});
}

void writeImages(const Images& images, int64_t from, const at::Tensor& pixels) {
  const int64_t height = images.pixels.size(1), width = images.pixels.size(2);
  const at::Tensor target = images.pixels.narrow(0, from, pixels.size(0));
  const at::Tensor moved = pixels.to(images.pixels.device());
  if (height == pixels.size(1) && width == pixels.size(2)) {
    target.copy_(moved);
    return;
  }
  for (int64_t at = 0; at < pixels.size(0); at += 1024) {  // in float32 all of them could be too large
    const int64_t count = std::min<int64_t>(1024, pixels.size(0) - at);
    const at::Tensor planar = moved.narrow(0, at, count).permute({0, 3, 1, 2}).to(at::kFloat).contiguous();
    const at::Tensor resized = at::_upsample_bilinear2d_aa(planar, {height, width}, /*align_corners=*/false);
    target.narrow(0, at, count).copy_(resized.round().clamp(0, 255).to(at::kByte).permute({0, 2, 3, 1}));
  }
}

at::Tensor toModelRange(const at::Tensor& pixels) {
  return pixels.permute({0, 3, 1, 2}).to(at::kFloat).mul_(2.0 / 255).sub_(1).contiguous();
}

at::Tensor toPixels(const at::Tensor& images) {
  return images.add(1).mul_(127.5).round_().clamp_(0, 255).to(at::kByte).permute({0, 2, 3, 1}).contiguous();
}

Pool::Pool(std::vector<Part> parts) : parts_(std::move(parts)) {
  for (const Part& part : parts_) {
    if (part.images->pixels.sizes().slice(1) != parts_.front().images->pixels.sizes().slice(1)) {
      throw Error("ERR_INVALID_ARGUMENT", "all images of a pool must have one height, width and number of channels");
    }
    if (part.indices.numel() > 0) {
      const auto lowest = part.indices.min().item<int64_t>(), highest = part.indices.max().item<int64_t>();
      if (lowest < 0 || highest >= part.images->count()) {
        throw Error("ERR_INVALID_ARGUMENT", "indices: expected 0 … " + std::to_string(part.images->count() - 1) +
                                                ", found " + std::to_string(lowest) + " … " + std::to_string(highest));
      }
    }
    size_ += part.indices.numel();
  }
}

at::Tensor Pool::gather(const std::vector<int64_t>& positions, at::Tensor Images::* field) const {
  // Positions are grouped by part: one selection and one scatter for each part that has any.
  std::vector<std::vector<int64_t>> rows(parts_.size()), places(parts_.size());
  for (size_t place = 0; place < positions.size(); ++place) {
    int64_t position = positions[place];
    size_t part = 0;
    while (position >= parts_[part].indices.numel()) position -= parts_[part++].indices.numel();
    rows[part].push_back(parts_[part].indices.const_data_ptr<int64_t>()[position]);
    places[part].push_back(static_cast<int64_t>(place));
  }
  at::Tensor result;
  for (size_t part = 0; part < parts_.size(); ++part) {
    if (rows[part].empty()) continue;
    const at::Tensor& source = (*parts_[part].images).*field;
    const at::Tensor selected = source.index_select(0, toDevice(at::tensor(rows[part], at::kLong), source.device()));
    if (rows[part].size() == positions.size()) return selected;
    if (!result.defined()) {
      std::vector<int64_t> shape = source.sizes().vec();
      shape[0] = static_cast<int64_t>(positions.size());
      result = at::empty(shape, source.options());
    }
    result.index_copy_(0, toDevice(at::tensor(places[part], at::kLong), source.device()), selected);
  }
  return result;
}

at::Tensor Pool::images(const std::vector<int64_t>& positions) const {
  const at::Tensor images = gather(positions, &Images::pixels);
  return images.scalar_type() == at::kByte ? toModelRange(images) : images.permute({0, 3, 1, 2}).contiguous();
}

at::Tensor Pool::labels(const std::vector<int64_t>& positions) const { return gather(positions, &Images::labels); }

at::Tensor flipHorizontally(const at::Tensor& images, const at::Tensor& flags) {
  return at::where(toDevice(flags, images.device()).view({-1, 1, 1, 1}), images.flip(3), images);
}

}  // namespace continual
