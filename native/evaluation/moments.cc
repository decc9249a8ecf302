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

FrechetDistanceFrom::FrechetDistanceFrom(const at::Tensor& mean, const at::Tensor& covariance)
    : mean_(mean), trace_(covariance.trace()) {
  const auto [values, vectors] = at::linalg_eigh(covariance);
  root_ = vectors * values.clamp_min(0).sqrt().unsqueeze(0);  // root · rootᵀ = Σ₁
}

double FrechetDistanceFrom::operator()(const at::Tensor& mean, const at::Tensor& covariance) const {
  // tr √(Σ₁Σ₂) = tr √(√Σ₁ Σ₂ √Σ₁), which is symmetric: eigenvalues of symmetric matrices stay real and accurate also
  // where a covariance is rank-deficient; what rounding makes negative is 0.
  const at::Tensor product = root_.t().mm(covariance).mm(root_);
  const at::Tensor traceRoot = at::linalg_eigvalsh(product).clamp_min(0).sqrt().sum();
  const at::Tensor distance = (mean_ - mean).square().sum() + trace_ + covariance.trace() - 2 * traceRoot;
  return std::max(0.0, distance.item<double>());  // which rounding may make negative
}

}  // namespace continual
