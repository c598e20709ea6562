// A captured sequence of work, and all memory that it touches. What is allocated during a capture
// comes from a pool of the graph's own, and what is freed is used again only inside the capture, so
// that every address is still the graph's when it is replayed. Tensors from outside that captured
// operations use live as long as the graph.
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "cuda/arena.h"
#include "cuda/pool.h"

namespace surprisal::cuda {

class Context;

class Graph {
 public:
  // Starts capturing. This thread holds the context's lock until `end`: what other threads enqueued
  // meanwhile would become part of the graph.
  static void begin(Context& context);
  // Ends the capture; throws where what was recorded cannot be made a graph.
  static std::shared_ptr<Graph> end(Context& context);
  // Ends captures that this thread has begun, because its environment ends.
  static void abandon();

  explicit Graph(Context& context);
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;

  void launch();
  // An operation that is being captured uses this memory.
  void hold(const std::shared_ptr<Block>& block);
  void keep(std::shared_ptr<void> owner) { owners_.push_back(std::move(owner)); }
  // A page-locked copy of host memory.
  void* keep_host(const void* from, int64_t bytes);

  Context& context;
  std::shared_ptr<Pool> pool;
  Arena arena;

 private:
  void* executable_ = nullptr;
  std::vector<std::shared_ptr<Block>> held_;
  std::vector<std::shared_ptr<void>> owners_;
  std::vector<void*> host_;
};

}  // namespace surprisal::cuda
