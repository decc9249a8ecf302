#include "training/objective.h"

#include <algorithm>

namespace continual {

bool Objective::needsTeacher() const {
  return std::any_of(sources.begin(), sources.end(), [](const Source& s) { return s.kind == SourceKind::teacher; }) ||
         std::any_of(terms.begin(), terms.end(), [](const Term& t) { return t.target == Target::teacher; });
}

std::string describe(const Objective& objective, size_t term) {
  const char* kinds[] = {"task", "memory", "teacher", "gaussian"};
  const Term& t = objective.terms[term];
  return std::string(kinds[static_cast<size_t>(objective.sources[t.source].kind)]) + " → " +
         (t.target == Target::data ? "data" : "teacher");
}

}  // namespace continual
