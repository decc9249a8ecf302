#include "nn/functions.h"

namespace continual {

at::Tensor activated(const at::Tensor& x, Activation activation) {
  switch (activation) {
    case Activation::mish:
      return at::mish(x);
    case Activation::gelu:
      return at::gelu(x);
    case Activation::relu:
      return at::relu(x);
    case Activation::silu:
      break;
  }
  return at::silu(x);
}

}  // namespace continual
