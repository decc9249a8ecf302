#include "evaluation/moments.h"

namespace continual {

void accumulateMoments(const at::Tensor& rows, int64_t count, const at::Tensor& mean, const at::Tensor& m2) {
  const double before = static_cast<double>(count), added = static_cast<double>(rows.size(0)), all = before + added;
  const at::Tensor x = rows.to(at::kDouble);
  const at::Tensor batchMean = x.mean(0), centred = x - batchMean, shift = batchMean - mean;
  m2.addmm_(centred.t(), centred);
  m2.addr_(shift, shift, 1, before * added / all);
  mean.add_(shift, added / all);
}

double frechetDistance(const at::Tensor& mean1, const at::Tensor& covariance1, const at::Tensor& mean2,
                       const at::Tensor& covariance2) {
  // tr √(Σ₁Σ₂) = tr √(√Σ₁ Σ₂ √Σ₁), which is symmetric: eigenvalues of symmetric matrices stay real and accurate also
  // where a covariance is rank-deficient; what rounding makes negative is 0.
  const auto [values, vectors] = at::linalg_eigh(covariance1);
  const at::Tensor root = vectors * values.clamp_min(0).sqrt().unsqueeze(0);  // root · rootᵀ = Σ₁
  const at::Tensor product = root.t().mm(covariance2).mm(root);
  const at::Tensor traceRoot = at::linalg_eigvalsh(product).clamp_min(0).sqrt().sum();
  const at::Tensor distance =
      (mean1 - mean2).square().sum() + covariance1.trace() + covariance2.trace() - 2 * traceRoot;
  return distance.item<double>();
}

}  // namespace continual
