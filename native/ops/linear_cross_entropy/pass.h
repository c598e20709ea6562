// A pass over the rows of an operation: its workspace, and the order of waves and chunks.
#pragma once
#include "ops/linear_cross_entropy/check.h"
#include "ops/linear_cross_entropy/filter.h"

namespace surprisal::linear_cross_entropy {

// A filter, and what forward leaves of it to backward.
struct FilterOf {
  double eps = -1, max_error = -1;
  View tile_sums, report;
  cuda::Numbers upstream;  // if it is one number
};

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
  void filter(const FilterOf& filter) { filter_ = filter; }
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
  bool filtered() const { return problem_.filtered; }
  void begin_filter(const SlopeWork& slopes);
  FilterShape filter_shape() const;
  JudgeWork judge_of(const Wave& wave, int64_t first, int64_t tiles) const;
  void judge_wave(const Logits& z) const;
  void judge_chunk(const Logits& z, const Chunk& chunk) const;
  void list_kept(const Logits& z, const Chunk& chunk, bool units) const;
  Keep keep_blocks() const;
  BlockLists lists_x(const Chunk& chunk) const;
  BlockLists lists_w(const Logits& z) const;
  void* tail_sums(const Chunk& chunk) const;
  void add_tail_x(const Logits& z) const;
  void add_tail_weight(const Logits& z) const;
  void share_tail() const;
  void report(bool judged) const;

  Wave wave(int64_t first) const;
  Logits gather_wave(const Wave& wave) const;
  StoredRows stored_of(const Wave& wave) const;
  void stored_gradients();
  void sweep_weight() const;
  void own_slopes() const;
  void slopes_of(const Logits& z, const Chunk& chunk) const;
  void add_x(const Logits& z, const Chunk& chunk) const;
  void finish_x(const Logits& z) const;
  ProductX product_x(const Logits& z) const;
  ProductW product_w(const Logits& z) const;
  void multiply(const ProductX& p) const;
  void multiply(const ProductW& p) const;
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
  FilterOf filter_;
  JudgeWork judge_;
  char* memory_ = nullptr;
  Kept kept_;
  // Of the gradients.
  Gradients to_;
  bool general_ = false, own_from_z_ = false;
  const uint64_t* keys_ = nullptr;
};

}  // namespace surprisal::linear_cross_entropy
