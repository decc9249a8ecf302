#include "training/ranges.h"

#include <c10/core/GradMode.h>

#include <vector>

namespace continual {

namespace {

void byMember(Team& team, int64_t total, const std::function<void(int64_t member, int64_t begin, int64_t end)>& work) {
  const int64_t parts = team.size();
  team.run(parts, [&](int64_t member) {
    const c10::NoGradGuard noGrad;
    work(member, total * member / parts, total * (member + 1) / parts);
  });
}

}  // namespace

void overRanges(Team& team, int64_t total, const std::function<void(int64_t begin, int64_t end)>& work) {
  byMember(team, total, [&](int64_t, int64_t begin, int64_t end) { work(begin, end); });
}

at::Tensor sumOverRanges(Team& team, int64_t total, const std::function<at::Tensor(int64_t begin, int64_t end)>& part) {
  std::vector<at::Tensor> parts(static_cast<size_t>(team.size()));
  byMember(team, total,
           [&](int64_t member, int64_t begin, int64_t end) { parts[static_cast<size_t>(member)] = part(begin, end); });
  at::Tensor sum = parts[0];
  for (size_t i = 1; i < parts.size(); ++i) sum = sum + parts[i];
  return sum;
}

}  // namespace continual
