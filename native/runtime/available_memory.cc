#include "runtime/available_memory.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <string>

namespace continual {

namespace {

constexpr size_t unlimited = std::numeric_limits<size_t>::max();

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

/// A version of Linux's control groups: where it lies, and what its files and their words are called.
struct ControlGroups {
  std::string line;  ///< what stands before a process's group in /proc/self/cgroup
  std::string folder;
  std::string limit, used, activeFiles, inactiveFiles;
};

const ControlGroups versions[] = {
    {"0::/", "/sys/fs/cgroup", "memory.max", "memory.current", "active_file", "inactive_file"},
    {":memory:/", "/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_active_file",
     "total_inactive_file"},
};

/// What a group, whose path begins with a slash, and the groups around it may still take.
size_t availableIn(const ControlGroups& version, std::string group) {
  size_t available = unlimited;
  for (;; group.erase(group.rfind('/'))) {
    const std::string folder = version.folder + group + "/";
    const size_t limit = numberIn(folder + version.limit, unlimited);
    // Pages of files are given up for others.
    const size_t used = numberIn(folder + version.used, 0);
    const std::string kinds = folder + "memory.stat";
    const size_t files =
        std::min(used, numberIn(kinds, version.activeFiles, 0) + numberIn(kinds, version.inactiveFiles, 0));
    if (limit != unlimited) available = std::min(available, limit - std::min(limit, used - files));
    if (group.empty()) return available;
  }
}

}  // namespace

size_t availableMemory() {
  size_t available = unlimited;
  if (const size_t kib = numberIn("/proc/meminfo", "MemAvailable:", 0); kib > 0) {
    available = (kib + numberIn("/proc/meminfo", "SwapFree:", 0)) << 10;
  }
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    for (const ControlGroups& version : versions) {
      const size_t found = line.find(version.line);
      if (found == std::string::npos) continue;
      available = std::min(available, availableIn(version, line.substr(found + version.line.size() - 1)));
    }
  }
  return available;
}

}  // namespace continual
