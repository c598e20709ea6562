// Betti-Matching-3D and GUDHI's rectangle code as a child process of bench/ops/betti.bench.ts. Not
// part of the build: compile it with the sources of nstucki/Betti-Matching-3D (all but main.cpp and
// _BettiMatching.cpp; add -include tuple) and name the program in SURPRISAL_BETTI_PEER:
//   g++ -std=c++17 -O3 -DNDEBUG -include tuple -I <Betti-Matching-3D>/src betti_peer.cpp <its .cpp> \
//       [-DWITH_GUDHI -I <gudhi>/include] -pthread -o betti_peer
// Commands, one a line: load <file> <file> <images> <sizes...> (raw doubles, in sublevel order);
// matching, barcode, gudhi (of the first image: CPU ms), batch (all images: wall ms).
#include <cassert>
#include <chrono>
#include <ctime>
#include <fstream>
#include <future>
#include <iostream>
#include <sstream>

#include "BettiMatching.h"
#if defined(WITH_GUDHI)
#include <gudhi/Persistence_on_rectangle.h>
#endif

namespace {

std::vector<double> first, second;
std::vector<index_t> shape;
size_t images = 0, voxels = 0;

std::vector<double> read(const std::string& path) {
  std::vector<double> out(images * voxels);
  std::ifstream(path, std::ios::binary).read(reinterpret_cast<char*>(out.data()), out.size() * 8);
  return out;
}

void load(std::istringstream& words) {
  std::string a, b;
  words >> a >> b >> images;
  shape.clear();
  voxels = 1;
  for (index_t n; words >> n; voxels *= n) shape.push_back(n);
  first = read(a);
  second = read(b);
}

void match(size_t image, bool both) {
  const auto part = [&](const std::vector<double>& all) {
    const auto from = all.begin() + image * voxels;
    return std::vector<double>(from, from + voxels);
  };
  std::vector<index_t> own = shape;
  Config config;
  BettiMatching matching(part(first), part(both ? second : first), std::move(own),
                         std::move(config));
  if (both) {
    matching.computeMatching();
    matching.getMatching();
  } else {
    matching.computePairsInput0();
  }
}

size_t gudhi() {
  size_t pairs = 0;
#if defined(WITH_GUDHI)
  static std::vector<float> values;
  values.assign(first.begin(), first.begin() + voxels);
  const auto count = [&](size_t, size_t) { ++pairs; };
  Gudhi::cubical_complex::persistence_on_rectangle_from_top_cells<true>(
      values.data(), static_cast<unsigned>(shape[0]), static_cast<unsigned>(shape[1]), count, count);
#endif
  return pairs;
}

double cpu_ms() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return t.tv_sec * 1e3 + t.tv_nsec * 1e-6;
}

double wall_ms() {
  const auto now = std::chrono::steady_clock::now().time_since_epoch();
  return std::chrono::duration<double, std::milli>(now).count();
}

void batch() {
  std::vector<std::future<void>> all;
  for (size_t i = 0; i < images; ++i) all.push_back(std::async(std::launch::async, match, i, true));
  for (auto& one : all) one.get();
}

}  // namespace

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what;
    words >> what;
    const double cpu = cpu_ms(), wall = wall_ms();
    if (what == "load") load(words);
    if (what == "matching") match(0, true);
    if (what == "barcode") match(0, false);
    if (what == "gudhi" && gudhi() == 0) {
      std::cout << "none" << std::endl;
      continue;
    }
    if (what == "batch") batch();
    std::cout << (what == "batch" ? wall_ms() - wall : cpu_ms() - cpu) << std::endl;
  }
}
