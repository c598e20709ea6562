// Native errors. TypeScript words what a user did wrong; native code asserts the same facts once
// more and reports what only the values can show. A `Code` becomes the `code` of the JS error.
#pragma once
#include <cstdint>
#include <stdexcept>
#include <string>

namespace surprisal {

enum class Code {
  internal,       // Error       ERR_INTERNAL
  out_of_range,   // RangeError  ERR_OUT_OF_RANGE
  invalid_value,  // RangeError  ERR_INVALID_VALUE
  invalid_type,   // TypeError   ERR_INVALID_TYPE
  out_of_memory,  // OutOfMemoryError ERR_OUT_OF_MEMORY
};

class Error : public std::runtime_error {
 public:
  Error(Code code, const std::string& message) : std::runtime_error(message), code_(code) {}
  Code code() const { return code_; }

 private:
  Code code_;
};

// Of a device; sizes in bytes.
class OutOfMemory : public Error {
 public:
  OutOfMemory(const std::string& message, int64_t requested, int64_t free, int64_t total)
      : Error(Code::out_of_memory, message), requested(requested), free(free), total(total) {}
  const int64_t requested, free, total;
};

inline void require(bool fact, const char* what) {
  if (!fact) throw Error(Code::internal, what);
}

}  // namespace surprisal
