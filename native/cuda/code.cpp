#include "cuda/code.h"

#include <algorithm>
#include <cstdlib>
#include <sstream>
#include <vector>

namespace surprisal::cuda {
namespace {

struct Target {
  int arch;
  bool special;  // uses what this architecture alone has
  bool machine, ptx;
};

std::vector<Target> targets_of(const std::string& built) {
  std::vector<Target> out;
  std::istringstream all(built);
  for (std::string one; std::getline(all, one, ',');) {
    char* end = nullptr;
    const int arch = static_cast<int>(std::strtol(one.c_str(), &end, 10));
    out.push_back({arch, *end == 'a', one.find("-virtual") == std::string::npos,
                   one.find("-real") == std::string::npos});
  }
  return out;
}

std::string version(int arch) {
  return std::to_string(arch / 10) + "." + std::to_string(arch % 10);
}

}  // namespace

LoadedCode code_for(const std::string& built, int capability) {
  LoadedCode machine, ptx;
  for (const Target& target : targets_of(built)) {
    if (target.special ? target.arch != capability : target.arch > capability) continue;
    const LoadedCode code{target.arch, target.special && target.arch == 90};
    // Machine code runs on later members of its generation, PTX on all that is newer.
    if (target.machine && target.arch / 10 == capability / 10 && target.arch > machine.arch)
      machine = code;
    if (target.ptx && target.arch > ptx.arch) ptx = code;
  }
  return machine.arch ? machine : ptx;
}

LoadedCode code_from(const Probed& features, const Probed& arch) {
  const bool agrees = arch.threads == probe_threads(arch.ptx);
  const int told = agrees ? arch.ptx : 5 * (arch.threads / 32 + 14);
  const int least = std::min({features.ptx, arch.ptx, told});
  const bool all_90 = least == 90 && features.binary == 90 && arch.binary == 90;
  return {least, all_90 && features.threads == kProbeThreads + 32};
}

int planned_arch(const LoadedCode& code) { return code.arch == 90 && !code.wgmma ? 89 : code.arch; }

std::string missing_code(const std::string& built, const std::string& name, int capability) {
  if (code_for(built, capability).arch) return "";
  std::string text = name + " has compute capability " + version(capability) +
                     ", for which this build has no code: it is for ";
  const char* between = "";
  for (const Target& target : targets_of(built)) {
    text += between + version(target.arch) + (target.ptx && !target.special ? " and newer" : "");
    between = ", ";
  }
  return text;
}

}  // namespace surprisal::cuda
