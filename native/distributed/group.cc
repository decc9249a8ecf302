#include "distributed/group.h"

#include "runtime/error.h"

namespace continual {

namespace {

std::string ranks(const std::vector<int64_t>& list) {
  std::string text = list.size() == 1 ? "rank " : "ranks ";
  for (size_t i = 0; i < list.size(); ++i) text += (i == 0 ? "" : ", ") + std::to_string(list[i]);
  return text;
}

}  // namespace

at::Tensor Group::agree(Standing own, const at::Tensor& values, const Cancellation& cancellation, bool looks) const {
  const at::Tensor told = at::zeros({size}, values.options());
  if (own != Standing::sound) told[rank].fill_(static_cast<double>(own));
  const at::Tensor all = at::cat({told, values});
  sum(all, cancellation);
  if (looks) {
    const at::Tensor host = all.slice(0, 0, size).to(at::kCPU, at::kLong);
    std::vector<int64_t> stopped, failed;
    for (int64_t i = 0; i < size; ++i) {
      const auto standing = static_cast<Standing>(host.const_data_ptr<int64_t>()[i]);
      if (standing == Standing::stopped) stopped.push_back(i);
      if (standing == Standing::failed) failed.push_back(i);
    }
    if (!failed.empty()) throw Error("ERR_GROUP", ranks(failed) + " failed in this step, and says why");
    if (!stopped.empty()) throw Error("ERR_GROUP", ranks(stopped) + " was stopped, so that no step can be taken");
  }
  return all.slice(0, size);
}

void Group::sumGradient(const at::Tensor& flat, const Cancellation& cancellation) const {
  if (gradients == at::kFloat) return sum(flat, cancellation);
  const at::Tensor sent = flat.to(gradients);
  sum(sent, cancellation);
  flat.copy_(sent);
}

}  // namespace continual
