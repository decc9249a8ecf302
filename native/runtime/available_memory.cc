#include "runtime/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace continual {

namespace {

/// The number after a word in a file of words and numbers; `otherwise` where there is none.
size_t numberIn(const std::string& file, const std::string& word, size_t otherwise) {
  std::ifstream in(file);
  for (std::string found; in >> found;) {
    if (size_t number = 0; found == word && in >> number) return number;
  }
  return otherwise;
}

size_t numberIn(const std::string& file, size_t otherwise) {
  std::ifstream in(file);
  size_t number = 0;
  return in >> number ? number : otherwise;  // "max" is none
}

}  // namespace

size_t availableMemory() {
  constexpr size_t unlimited = std::numeric_limits<size_t>::max();
  size_t available = unlimited;
  if (const size_t kib = numberIn("/proc/meminfo", "MemAvailable:", 0); kib > 0) {
    available = (kib + numberIn("/proc/meminfo", "SwapFree:", 0)) << 10;
  }
  std::string group;
  std::getline(std::ifstream("/proc/self/cgroup"), group);
  if (!group.starts_with("0::/")) return available;
  for (group.erase(0, 3);; group.erase(group.rfind('/'))) {
    const std::string folder = "/sys/fs/cgroup" + group + "/";
    const size_t limit = numberIn(folder + "memory.max", unlimited);
    // Pages of files are given up for others.
    const size_t used = numberIn(folder + "memory.current", 0);
    const std::string kinds = folder + "memory.stat";
    const size_t files = std::min(used, numberIn(kinds, "active_file", 0) + numberIn(kinds, "inactive_file", 0));
    if (limit != unlimited) available = std::min(available, limit - std::min(limit, used - files));
    if (group.empty()) return available;
  }
}

}  // namespace continual
