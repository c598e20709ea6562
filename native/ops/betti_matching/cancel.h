// Work that its caller may stop: every loop that can take long looks at the caller's flag now and
// then. Which flag is known by thread, so that sorts and sweeps need no argument for it.
#pragma once
#include <cstdint>

#include "core/check.h"
#include "core/view.h"

namespace surprisal::betti_matching {

namespace detail {
inline thread_local const int32_t* cancel_flag = nullptr;  // of what this thread works on
}

// While it lives, what the thread does ends with an error once the flag (op.h) is set.
class Cancellable {
 public:
  explicit Cancellable(const View& flag) : before_(detail::cancel_flag) {
    detail::cancel_flag = flag ? flag.as<int32_t>() : nullptr;
  }
  ~Cancellable() { detail::cancel_flag = before_; }
  Cancellable(const Cancellable&) = delete;
  Cancellable& operator=(const Cancellable&) = delete;

 private:
  const int32_t* before_;
};

// Not inlined: loops stay what they are without it.
[[gnu::noinline]] inline void check_cancelled() {
  const int32_t* const flag = detail::cancel_flag;
  if (flag && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0)
    throw Error(Code::internal, "bettiMatching: cancelled");
}

// The same at the 0th step of a loop and each so many after it, milliseconds at most.
constexpr int64_t kStepsUnchecked = int64_t{1} << 15;
inline void check_cancelled_at(int64_t step) {
  if ((step & (kStepsUnchecked - 1)) == 0) check_cancelled();
}

}  // namespace surprisal::betti_matching
