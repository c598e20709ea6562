// Scratch memory of operations on one stream: taken from the front, given back all at once when the
// operation returns. The next operation may have the same memory, because its kernels run later.
// It grows to what the greediest operation needed and then asks for nothing.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

namespace surprisal::cuda {

class Context;
struct Block;

class Arena {
 public:
  explicit Arena(Context& context) : context_(context) {}
  void* take(int64_t bytes);
  void reset();
  void release() { chunks_.clear(); }  // only between operations
  int64_t used() const { return used_; }
  int64_t peak(bool reset);

 private:
  Context& context_;
  std::vector<std::shared_ptr<Block>> chunks_;
  int64_t offset_ = 0;  // in the last chunk
  int64_t used_ = 0, peak_ = 0, wanted_ = 0;
};

}  // namespace surprisal::cuda
