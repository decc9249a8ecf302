#include "evaluation/neighbours.h"

#include <algorithm>
#include <limits>

#include "runtime/random.h"

namespace continual {

namespace {

constexpr int64_t blockRows = 1024;

at::Tensor block(const at::Tensor& rows, int64_t first) {
  return rows.narrow(0, first, std::min(blockRows, rows.size(0) - first)).to(at::kDouble);
}

/// |a|² of every row, as a column.
at::Tensor squares(const at::Tensor& a) { return a.square().sum(1, /*keepdim=*/true); }

/// Squared distances of the rows of `a` and `b`. By one matrix product: rounding leaves about 1e-16 of |a|² + |b|².
at::Tensor squaredDistances(const at::Tensor& a, const at::Tensor& b) {
  return at::addmm(squares(a) + squares(b).t(), a, b.t(), 1, -2).clamp_min_(0);
}

/// k(a, b) of all pairs of rows: see `kernelDistance`.
at::Tensor kernelOf(const at::Tensor& a, const at::Tensor& b, std::optional<double> sigma) {
  if (sigma) return squaredDistances(a, b).mul_(-0.5 / (*sigma * *sigma)).exp_();
  return a.mm(b.t()).mul_(1.0 / static_cast<double>(a.size(1))).add_(1).pow_(3);
}

/// Σ k(x, y) over all pairs; for x and y the same rows, over pairs of different ones.
double kernelSum(const at::Tensor& x, const at::Tensor& y, bool same, std::optional<double> sigma,
                 const Cancellation& cancellation) {
  double sum = 0;
  for (int64_t i = 0; i < x.size(0); i += blockRows) {
    const at::Tensor a = block(x, i);
    for (int64_t j = same ? i : 0; j < y.size(0); j += blockRows) {  // the kernel is symmetric
      cancellation.check();
      const at::Tensor kernel = kernelOf(a, block(y, j), sigma);
      if (!same) {
        sum += kernel.sum().item<double>();
      } else if (i == j) {
        sum += kernel.fill_diagonal_(0).sum().item<double>();
      } else {
        sum += 2 * kernel.sum().item<double>();
      }
    }
  }
  return sum;
}

/// Squared distance of every row to its k-th nearest other row, N × 1.
at::Tensor squaredRadii(const at::Tensor& rows, int64_t k, const Cancellation& cancellation) {
  std::vector<at::Tensor> radii;
  for (int64_t i = 0; i < rows.size(0); i += blockRows) {
    const at::Tensor a = block(rows, i);
    at::Tensor nearest = at::full({a.size(0), k}, std::numeric_limits<double>::infinity(), at::kDouble);
    for (int64_t j = 0; j < rows.size(0); j += blockRows) {
      cancellation.check();
      at::Tensor distances = squaredDistances(a, block(rows, j));
      if (i == j) distances.fill_diagonal_(std::numeric_limits<double>::infinity());
      nearest = std::get<0>(at::cat({nearest, distances}, 1).topk(k, 1, /*largest=*/false));
    }
    radii.push_back(nearest.amax({1}, /*keepdim=*/true));
  }
  return at::cat(radii);
}

}  // namespace

double kernelDistance(const at::Tensor& real, const at::Tensor& generated, std::optional<double> sigma,
                      const Cancellation& cancellation) {
  const double m = static_cast<double>(real.size(0)), n = static_cast<double>(generated.size(0));
  return kernelSum(real, real, true, sigma, cancellation) / (m * (m - 1)) +
         kernelSum(generated, generated, true, sigma, cancellation) / (n * (n - 1)) -
         2 * kernelSum(real, generated, false, sigma, cancellation) / (m * n);
}

std::vector<double> kernelDistances(const at::Tensor& real, const at::Tensor& generated, int64_t subsets, int64_t size,
                                    uint64_t seed, const Cancellation& cancellation) {
  const auto some = [&](const at::Tensor& rows, uint64_t index) {
    std::vector<int64_t> order = Random(seed, Purpose::resampling, index).permutation(rows.size(0));
    order.resize(static_cast<size_t>(size));
    return rows.index_select(0, at::tensor(order, at::kLong));
  };
  std::vector<double> distances;
  for (int64_t i = 0; i < subsets; ++i) {
    const auto index = static_cast<uint64_t>(2 * i);
    distances.push_back(kernelDistance(some(real, index), some(generated, index + 1), std::nullopt, cancellation));
  }
  return distances;
}

double coverage(const at::Tensor& manifold, const at::Tensor& points, int64_t k, const Cancellation& cancellation) {
  const at::Tensor radii = squaredRadii(manifold, k, cancellation);
  int64_t covered = 0;
  for (int64_t j = 0; j < points.size(0); j += blockRows) {
    const at::Tensor b = block(points, j), norms = squares(b).t();
    at::Tensor inside = at::zeros({b.size(0)}, at::kBool);
    for (int64_t i = 0; i < manifold.size(0); i += blockRows) {
      cancellation.check();
      const at::Tensor a = block(manifold, i);
      const at::Tensor slack = (squares(a) + norms) * 1e-12;
      inside |= squaredDistances(a, b).le(radii.narrow(0, i, a.size(0)) + slack).any(0);
    }
    covered += inside.sum().item<int64_t>();
  }
  return static_cast<double>(covered) / static_cast<double>(points.size(0));
}

}  // namespace continual
