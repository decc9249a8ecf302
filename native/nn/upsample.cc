#include "nn/cuda/functions.h"
#include "nn/functions.h"

namespace continual {

at::Tensor upsample(const at::Tensor& x) {
  if (const auto own = cuda::upsample(x)) return *own;
  return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)});
}

}  // namespace continual
