// A pass over the rows of an operation: its workspace, and the order of waves and chunks.
#pragma once
#include "ops/linear_cross_entropy/check.h"
#include "ops/linear_cross_entropy/rows_device.h"

namespace surprisal::linear_cross_entropy {

class Pass {
 public:
  // Refuses a workspace that is too small for this pass, or for one that will follow.
  Pass(const Linear& op, const Problem& now, const Problem& later, const char* name,
       cuda::Stream& stream);

  // The rows that are scored and not ignored; all rows where there is no target.
  void keep();
  void keep(const Scored& op, cuda::FaultSite fault, bool shard = false, int64_t offset = 0);

  // Sums over the classes of every kept row, which `finish` makes something of.
  void states(Extra extra, FinishWork finish);
  // Of the first rows keeps the exponentials there, or has their gradients made from them.
  void store(const Stored& stored, void* to);
  // The coefficients of the gradients, then the gradients.
  void gradients(SlopeWork slopes, const Gradients& to, bool general, bool own_from_z = false);

  const Kept& kept() const { return kept_; }
  template <class T>
  T* memory(int64_t at) const {
    return reinterpret_cast<T*>(memory_ + at);
  }
  const Layout& at() const { return plan_.at; }
  // Class weights as accumulators, if the problem has them.
  cuda::NumbersOut widened() const;

 private:
  // Classes, and where their dz is.
  struct Chunk {
    int64_t column, columns;
    void* dz;
    int64_t stride;
  };
  Wave wave(int64_t first) const;
  Logits gather_wave(const Wave& wave) const;
  StoredRows stored_of(const Wave& wave) const;
  void stored_gradients();
  void slopes_of(const Logits& z, const Chunk& chunk) const;
  void add_x(const Logits& z, const Chunk& chunk) const;
  void finish_x(const Logits& z) const;
  void add_weight(const Logits& z, const Chunk& chunk) const;
  template <class F>
  void each_wave(int64_t first, F&& f) const;
  template <class F>
  void each_chunk(F&& f) const;

  const Linear& op_;
  cuda::Stream& stream_;
  const Problem problem_;
  Plan plan_;
  Tiles tiles_;
  bool wide_ = false;  // see Problem
  StoredRows stored_;
  char* memory_ = nullptr;
  Kept kept_;
  // Of the gradients.
  Gradients to_;
  bool general_ = false, own_from_z_ = false;
  const uint64_t* keys_ = nullptr;
};

}  // namespace surprisal::linear_cross_entropy
