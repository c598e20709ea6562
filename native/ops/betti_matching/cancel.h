// Work that its caller may stop: every loop that can take long looks at the caller's flag now and
// then. Which flag is known by thread, so that sorts and sweeps need no argument for it.
#pragma once
#include <algorithm>

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

inline void check_cancelled() {
  const int32_t* const flag = detail::cancel_flag;
  if (flag && __atomic_load_n(flag, __ATOMIC_RELAXED) != 0)
    throw Error(Code::internal, "bettiMatching: cancelled");
}

// [0, n) in pieces of some milliseconds at most, a multiple of 64 long, between which work ends.
template <class F>
void in_pieces(int64_t n, F&& f) {
  constexpr int64_t kPiece = int64_t{1} << 16;
  for (int64_t begin = 0; begin < n; begin += kPiece) {
    check_cancelled();
    f(begin, std::min(n, begin + kPiece));
  }
}

// The same, each by itself.
template <class F>
void each_in_pieces(int64_t n, F&& f) {
  in_pieces(n, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) f(i);
  });
}

}  // namespace surprisal::betti_matching
