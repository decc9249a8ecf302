#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <utility>
#include <vector>

namespace continual {

/// Labelled images resident on a device, count × height × width × channels: uint8, or float32 where they are noisy and
/// bytes don't hold them. `writeImages` brings each image there once; after that nothing changes them.
struct Images {
  at::Tensor pixels;
  at::Tensor labels;                       // int64, count
  std::pair<int64_t, int64_t> labelRange;  // the lowest and the highest, found once: on a device it costs a wait

  int64_t count() const { return pixels.size(0); }
  int64_t bytes() const { return static_cast<int64_t>(pixels.nbytes() + labels.nbytes()); }
};

/// Black images, one per label, in the memory of the device. `labels`: on the CPU.
std::shared_ptr<const Images> blackImages(const at::Tensor& labels, int64_t height, int64_t width, int64_t channels,
                                          const at::TensorOptions& options);
/// Moves `pixels` to the device, as the images from position `from` on. Pixels of another height or width are resized
/// (bilinear, antialiased, rounded to uint8 as PIL does).
void writeImages(const Images& images, int64_t from, const at::Tensor& pixels);

/// uint8 N×H×W×C → float32 N×C×H×W in [−1, 1].
at::Tensor toModelRange(const at::Tensor& pixels);
/// The inverse, rounded and clamped.
at::Tensor toPixels(const at::Tensor& images);

/// Images to draw from: resident sets with the positions used of each, numbered through.
class Pool {
 public:
  struct Part {
    std::shared_ptr<const Images> images;
    at::Tensor indices;  // int64, on the CPU
  };
  /// Throws ERR_INVALID_ARGUMENT where an index is out of range or the images' shapes differ.
  explicit Pool(std::vector<Part> parts);

  int64_t size() const { return size_; }
  /// Images at `positions` (0 … size − 1), float32, in that order; of bytes in [−1, 1].
  at::Tensor images(const std::vector<int64_t>& positions) const;
  /// Their labels, int64.
  at::Tensor labels(const std::vector<int64_t>& positions) const;

 private:
  at::Tensor gather(const std::vector<int64_t>& positions, at::Tensor Images::* field) const;

  std::vector<Part> parts_;
  int64_t size_ = 0;
};

/// Mirrors the images whose flag (bool, N) is set, left to right.
at::Tensor flipHorizontally(const at::Tensor& images, const at::Tensor& flags);

}  // namespace continual
