// The rows that are scored, and what becomes of a row once its sums over the classes are known.
#pragma once
#include <string>

#include "core/logit_plan.h"
#include "core/scratch.h"
#include "core/values.h"
#include "ops/linear_cross_entropy/check.h"
#include "ops/linear_cross_entropy/op.h"
#include "ops/linear_cross_entropy/row_state.h"

namespace surprisal::linear_cross_entropy {

class RowFinish {
 public:
  virtual void finish(int64_t n, const RowState& state) = 0;
  virtual RowCoefficients slope(int64_t n, const RowState& state) const = 0;

 protected:
  ~RowFinish() = default;
};

// Kept rows in order: not ignored, and scored at all (shift).
class Rows {
 public:
  // A shard holds the classes from vocab_offset on; targets in other shards count as -1.
  Rows(const Scored& op, const char* name, bool shard = false, int64_t vocab_offset = 0);
  int64_t count = 0;
  Scratch<int64_t> row;       // of x
  Scratch<int64_t> position;  // in the outputs
  Scratch<int64_t> target;    // class, -1 for one of another shard
  Scratch<int64_t> source;    // index into target and token_weight
};

// One pass of the streaming loop (cpu/logit_stream.h) over the rows.
struct Stream {
  const Linear& op;
  const char* name;  // of the public function, for errors
  int64_t n;
  const int64_t* row;     // (n) of x
  const int64_t* target;  // (n), -1 for none among these classes
  RowState* states;       // (n), read instead of written if `sums` is false
  RowFinish& finish;
  bool sums = true;
  Extra extra = Extra::none;
  bool smooth = false;      // coefficients have w
  bool own_from_z = false;  // see RowCoefficients
  View class_weight = {};
  Gradients gradients = {};
  LogitFilter filter = {};
  // Gradients that another pass will want within the same workspace.
  bool later_x = false, later_weight = false, later_bias = false, later_adds = false;
};
void stream(const Stream& s);

// to = from · factor, perhaps in place.
void scale(const View& from, double factor, const View& to);

// The states of the kept rows, and their place in row_sums (by position).
class States {
 public:
  States(const View& saved, const Rows& rows);
  RowState* kept() const { return kept_.data(); }
  void load();
  void save();

 private:
  const View& saved_;
  const Rows& rows_;
  Scratch<RowState> kept_;
};

void fill_zero(const View& view);

}  // namespace surprisal::linear_cross_entropy
