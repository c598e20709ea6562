#include "harness.h"

namespace surprisal::cuda::test {
namespace {
int failed = 0;
}

std::vector<Test>& tests() {
  static std::vector<Test> all;
  return all;
}
int failures() { return failed; }
void fail(const char* file, int line, const std::string& what) {
  failed++;
  std::printf("  %s:%d: %s\n", file, line, what.c_str());
}

}  // namespace surprisal::cuda::test

// Prints one line a test; ends with 1 if any failed.
int main() {
  using namespace surprisal::cuda::test;
  for (const Test& test : tests()) {
    const int before = failures();
    test.body();
    std::printf("%s %s\n", failures() == before ? "ok  " : "FAIL", test.name);
  }
  return failures() != 0;
}
