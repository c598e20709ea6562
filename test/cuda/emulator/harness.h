// Tests of the emulator: kernels of a few lines, run with several schedules. A test either expects
// numbers, or that the emulator refuses a planted bug and says why.
#pragma once
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "core/check.h"
#include "cuda/launch.h"

namespace surprisal::cuda::test {

struct Test {
  const char* name;
  void (*body)();
};
std::vector<Test>& tests();
int failures();
void fail(const char* file, int line, const std::string& what);

struct Register {
  Register(const char* name, void (*body)()) { tests().push_back({name, body}); }
};
#define TEST(name)                                    \
  static void name();                                 \
  static const Register register_##name(#name, name); \
  static void name()
#define EXPECT(fact) \
  if (!(fact)) fail(__FILE__, __LINE__, #fact)

constexpr int kSeeds = 12;

// Device memory with room for n of T, from values of the host if there are any.
template <class T>
class Array {
 public:
  explicit Array(int64_t n) : n_(n), data_(static_cast<T*>(emulator::allocate(n * sizeof(T)))) {}
  explicit Array(const std::vector<T>& values) : Array(static_cast<int64_t>(values.size())) {
    std::memcpy(data_, values.data(), values.size() * sizeof(T));
    emulator::mark_initialised(data_, n_ * static_cast<int64_t>(sizeof(T)));
  }
  ~Array() { emulator::release(data_); }
  Array(const Array&) = delete;
  Array& operator=(const Array&) = delete;
  T* data() const { return data_; }
  T operator[](int64_t i) const {
    emulator::check_range(data_ + i, sizeof(T), false);
    return data_[i];
  }
  void forget() { emulator::mark_uninitialised(data_, n_ * static_cast<int64_t>(sizeof(T))); }

 private:
  int64_t n_;
  T* data_;
};

// What the emulator says of a launch; empty if all went well.
template <class... P>
std::string run(uint64_t seed, void (*kernel)(P...), const Shape& shape, const P&... parameters) {
  using Kernel = void (*)(P...);
  void* arguments[] = {const_cast<P*>(&parameters)..., nullptr};
  try {
    emulator::run(
        reinterpret_cast<const void*>(kernel), shape, arguments,
        +[](const void* k, void** a) {
          detail::call_kernel(reinterpret_cast<Kernel>(const_cast<void*>(k)), a,
                              std::index_sequence_for<P...>{});
        },
        seed);
  } catch (const Error& e) {
    return e.what();
  }
  return "";
}

// Every schedule must be refused with these words; `sometimes`: at least one.
template <class... P>
void expect_refused(const char* file, int line, const char* words, bool sometimes,
                    void (*kernel)(P...), const Shape& shape, const P&... parameters) {
  int caught = 0;
  std::string last;
  for (int seed = 0; seed < kSeeds; seed++) {
    const std::string said = run(static_cast<uint64_t>(seed), kernel, shape, parameters...);
    if (!said.empty() && said.find(words) != std::string::npos)
      caught++;
    else
      last = said;
  }
  if (caught == kSeeds || (sometimes && caught > 0)) return;
  fail(file, line,
       "refused " + std::to_string(caught) + " times, not with \"" + words + "\" but: " + last);
}
#define EXPECT_REFUSED(words, ...) expect_refused(__FILE__, __LINE__, words, false, __VA_ARGS__)
#define EXPECT_REFUSED_SOMETIMES(words, ...) \
  expect_refused(__FILE__, __LINE__, words, true, __VA_ARGS__)

template <class... P>
void expect_fine(const char* file, int line, const std::function<bool()>& right,
                 void (*kernel)(P...), const Shape& shape, const P&... parameters) {
  for (int seed = 0; seed < kSeeds; seed++) {
    const std::string said = run(static_cast<uint64_t>(seed), kernel, shape, parameters...);
    if (!said.empty()) return fail(file, line, said);
    if (right && !right()) return fail(file, line, "wrong with seed " + std::to_string(seed));
  }
}
#define EXPECT_FINE(right, ...) expect_fine(__FILE__, __LINE__, right, __VA_ARGS__)

}  // namespace surprisal::cuda::test
