// The operations on the device: the CPU form's arithmetic (op.h), with four products for a loss and
// its gradients instead of three, because dz is made anew from the rows' sums chunk by chunk:
//   states   z by tiles, folded into each row's sums over spans of classes (wide_folds.h with
//   wgmma,
//            tensor_cores.h with mma.sync, plain.h)
//   finish   spans merged in order, the rows' losses, the reduction (cuda_losses.cu, cuda_rows.cu)
//   slopes   z by tiles again, dz of a chunk into the workspace, dz of the targets beside it
//   dx += dz·W over the chunks;  dW = dzᵀ·x, a chunk's rows complete (wide_products.h, products.h,
//   plain.h)
// Ignored rows are dropped at the door: x of the others is made compact, and blocks beyond their
// number end at once. plan.h cuts rows and classes to the workspace. No atomics: the same bits each
// run. A filter drops blocks of dz before they are made (filter.h).
#include <algorithm>
#include <cstring>

#include "ops/linear_cross_entropy/pass.h"

namespace surprisal::linear_cross_entropy {
namespace {

using namespace cuda;

constexpr char kLoss[] = "linearCrossEntropy";
constexpr char kLogprobs[] = "linearLogprobs";
constexpr char kPartials[] = "linearCrossEntropyPartials";
constexpr char kShard[] = "linearCrossEntropy.backwardShard";

template <const char* name>
void raise_target(const Fault& f) {
  refuse_target(name, f.value, f.row, f.a, f.b);
}
void raise_class(const Fault& f) {
  double value;
  std::memcpy(&value, &f.value, sizeof value);
  refuse_class_weight(value, f.row);
}
void raise_token(const Fault& f) { refuse_token_weight(f.row); }

Problem problem_of(const Linear& op) {
  Problem p;
  p.dtype = op.x.dtype;
  p.rows = op.batch * (op.length - op.shift);
  p.width = op.width;
  p.classes = op.classes;
  p.budget = op.workspace_bytes;
  return p;
}
Problem sums_of(const Linear& op) {
  Problem p = problem_of(op);
  p.sums = true;
  return p;
}
template <class Op>
Problem later_of(const Op& op) {
  Problem p = problem_of(op);
  p.dx = op.later_x;
  p.dweight = op.later_weight;
  p.dbias = op.later_bias;
  return p;
}
Problem gradients_of(const Linear& op, const Gradients& to) {
  Problem p = problem_of(op);
  p.dx = bool(to.dx);
  p.dweight = bool(to.dweight);
  p.dbias = bool(to.dbias);
  p.adds = to.add_to_dweight;
  return p;
}

// Of its pass, if there is one to make.
FilterOf filter_of(const Loss& op, const Problem& p) {
  const int64_t sums = p.tiles() * p.rows * 2;
  require(!op.filter_tiles ||
              (op.filter_tiles.size == sums && size_of(op.filter_tiles.dtype) == p.accumulator()),
          "linearCrossEntropy: filterTiles");
  FilterOf filter{op.filter_eps, op.filter_error, op.filter_tiles, op.filter_report, {}};
  return filter;
}

bool smooth(const Loss& op) { return op.label_smoothing != 0; }
bool weights_classes(const Loss& op) { return smooth(op) && bool(op.class_weight); }
Reduction reduction_of(const Loss& op) { return static_cast<Reduction>(op.reduction); }

// What the bytes that forward leaves hold.
Stored stored_of(const Loss& op, const Problem& p) {
  Stored stored(p);
  stored.rows = op.stored.size / stored.row_bytes();
  require(!op.stored || (op.stored.size == stored.bytes() && stored.rows <= p.rows),
          "linearCrossEntropy: size of stored");
  return stored;
}
// The workspace without them.
int64_t rest_of_workspace(const Loss& op) { return op.workspace_bytes - op.stored.size; }

void fill_row_work(RowWork& work, const Loss& op, const Pass& pass) {
  work.ending = Ending::loss;
  work.kept = pass.kept();
  work.options = {op.label_smoothing, op.z_loss, static_cast<Epilogue>(op.epilogue), op.epilogue_k};
  work.reduction = reduction_of(op);
  work.class_weight = op.class_weight;
  work.token_weight = op.token_weight;
  work.totals = pass.memory<Totals>(pass.at().totals);
  work.classes = op.classes;
  work.saved = reinterpret_cast<RowState*>(op.row_sums.as<double>());
}

TotalsWork totals_work(const Loss& op, const Pass& pass) {
  TotalsWork work;
  work.kept = pass.kept();
  work.class_weight = op.class_weight;
  work.token_weight = op.token_weight;
  work.partial = pass.memory<Totals>(pass.at().partial);
  work.totals = pass.memory<Totals>(pass.at().totals);
  work.reduction = reduction_of(op);
  return work;
}

// Sums of the weights, which are checked on the way.
void add_up_weights(const Loss& op, const Pass& pass, Stream& stream) {
  TotalsWork work = totals_work(op, pass);
  work.widened = pass.widened();
  if (op.class_weight) {
    work.classes = op.classes;
    work.class_fault = stream.fault_site(raise_class);
  }
  if (op.token_weight) {
    work.tokens = op.token_weight.size;
    work.token_fault = stream.fault_site(raise_token);
  }
  add_up(work, stream);
}

void zero(const View& view, Stream& stream) {
  if (view) stream.fill_bytes(view.data, 0, view.size * size_of(view.dtype));
}

void check(const Scored& op, const char* name) {
  check_linear(op, name);
  check_targets(op, name);
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check_loss(op);
  const bool reduced = reduction_of(op) != Reduction::none;
  const int64_t scored = op.batch * (op.length - op.shift);
  require(op.loss.size == (reduced ? 1 : scored), "linearCrossEntropy: size of loss");
  require(!op.dx && !op.dweight && !op.dbias, "linearCrossEntropy: gradients come in backward");
  Problem now = sums_of(op), later = later_of(op);
  now.class_weight = later.class_weight = weights_classes(op);
  later.adds = op.later_adds;
  const Stored stored = stored_of(op, now);
  later.stored = stored.rows;
  later.filtered = bool(op.filter_tiles);
  now.budget = later.budget = rest_of_workspace(op);
  Pass pass(op, now, later, kLoss, stream);
  pass.store(stored, op.stored.data);
  pass.filter(filter_of(op, now));
  pass.keep(op, stream.fault_site(raise_target<kLoss>));
  if (op.class_weight || op.token_weight) add_up_weights(op, pass, stream);
  FinishWork finish;
  fill_row_work(finish, op, pass);
  if (!reduced) {
    zero(op.loss, stream);
    finish.out[0] = op.loss;
  }
  pass.states(smooth(op) ? Extra::below : Extra::none, finish);
  if (!reduced) return;
  TotalsWork sum = totals_work(op, pass);
  sum.row_loss = pass.memory<double>(pass.at().row_loss);
  sum.loss = op.loss;
  add_up(sum, stream);
}

void stored_bytes_cuda(const StoredQuery& op, Stream& stream) {
  const Properties& device = stream.properties();
  const Problem now = sums_of(op);
  Problem later = later_of(op);
  later.adds = op.later_adds;
  later.filtered = op.filtered;
  const Tiles tiles{device.processors};
  const int64_t columns = std::min(now.span(), now.classes);
  const bool can = now.wide(device.has_wgmma(), reinterpret_cast<uintptr_t>(op.weight.data)) &&
                   later.gradient() && op.label_smoothing == 0 &&
                   tiles.wide_large(now.rows, columns, now.spans());
  *op.bytes.as<double>() = can ? static_cast<double>(plan_stored(now, later).bytes()) : 0;
}

void backward_cuda(const Backward& op, Stream& stream) {
  check_loss(op);
  const bool reduced = reduction_of(op) != Reduction::none;
  const int64_t scored = op.batch * (op.length - op.shift);
  require(op.upstream.size == (reduced ? 1 : scored), "linearCrossEntropy: upstream");
  require(bool(op.row_sums), "linearCrossEntropy: rowSums");
  Problem now = gradients_of(op, op);
  now.class_weight = weights_classes(op);
  const Stored stored = stored_of(op, now);
  now.stored = stored.rows;
  now.filtered = bool(op.filter_tiles);
  now.budget = rest_of_workspace(op);
  Pass pass(op, now, now, kLoss, stream);
  pass.store(stored, op.stored.data);
  FilterOf filter = filter_of(op, now);
  if (reduced) filter.upstream = op.upstream;
  pass.filter(filter);
  pass.keep(op, stream.fault_site(raise_target<kLoss>));
  if (reduction_of(op) == Reduction::mean || op.class_weight) add_up_weights(op, pass, stream);
  SlopeWork slopes;
  fill_row_work(slopes, op, pass);
  slopes.upstream = op.upstream;
  pass.gradients(slopes, op, smooth(op));
  if (!op.dtoken_weight) return;
  zero(op.dtoken_weight, stream);
  TokenWork tokens;
  fill_row_work(tokens, op, pass);
  tokens.upstream = op.upstream;
  tokens.row_loss = pass.memory<double>(pass.at().row_loss);
  tokens.losses = pass.memory<Totals>(pass.at().totals) + 1;
  tokens.partial = pass.memory<Totals>(pass.at().partial);
  tokens.out = op.dtoken_weight;
  token_gradient(tokens, stream);
}

void logprobs_cuda(const Logprobs& op, Stream& stream) {
  check(op, kLogprobs);
  const int64_t scored = op.batch * (op.length - op.shift);
  FinishWork finish;
  finish.ending = Ending::logprobs;
  int i = 0;
  for (const View* out : {&op.logprob, &op.lse, &op.entropy}) {
    require(out->size == scored, "linearLogprobs: size of an output");
    zero(*out, stream);
    finish.out[i++] = *out;
  }
  finish.saved = reinterpret_cast<RowState*>(op.row_sums.as<double>());
  Pass pass(op, sums_of(op), later_of(op), kLogprobs, stream);
  pass.keep(op, stream.fault_site(raise_target<kLogprobs>));
  pass.states(Extra::entropy, finish);
}

void logprobs_backward_cuda(const LogprobsBackward& op, Stream& stream) {
  check(op, kLogprobs);
  check_gradients(op, op, kLogprobs);
  const int64_t scored = op.batch * (op.length - op.shift);
  for (const View* g : {&op.dlogprob, &op.dlse, &op.dentropy})
    require(!*g || g->size == scored, "linearLogprobs: size of an upstream gradient");
  require(bool(op.row_sums), "linearLogprobs: rowSums");
  const Problem now = gradients_of(op, op);
  Pass pass(op, now, now, kLogprobs, stream);
  pass.keep(op, stream.fault_site(raise_target<kLogprobs>));
  SlopeWork slopes;
  slopes.ending = Ending::logprobs;
  slopes.upstream = op.dlogprob;
  slopes.dlse = op.dlse;
  slopes.dentropy = op.dentropy;
  slopes.saved = reinterpret_cast<RowState*>(op.row_sums.as<double>());
  pass.gradients(slopes, op, true);
}

void partials_cuda(const Partials& op, Stream& stream) {
  check(op, kPartials);
  FinishWork finish;
  finish.ending = Ending::partials;
  int i = 0;
  for (const View* out : {&op.max, &op.sum_exp, &op.target_logit, &op.sum_logits}) {
    require(out->size == op.batch * op.length, "linearCrossEntropyPartials: size of an output");
    zero(*out, stream);
    finish.out[i++] = *out;
  }
  Pass pass(op, sums_of(op), sums_of(op), kPartials, stream);
  pass.keep(op, stream.fault_site(raise_target<kPartials>), true, op.vocab_offset);
  pass.states(Extra::total, finish);
}

void shard_backward_cuda(const ShardBackward& op, Stream& stream) {
  check(op, kShard);
  check_gradients(op, op, kShard);
  require(op.lse.size == op.target.size && op.grad_loss.size == op.target.size, kShard);
  const Problem now = gradients_of(op, op);
  Pass pass(op, now, now, kShard, stream);
  pass.keep(op, stream.fault_site(raise_target<kShard>), true, op.vocab_offset);
  SlopeWork slopes;
  slopes.ending = Ending::partials;
  slopes.lse = op.lse.as<float>();
  slopes.upstream = op.grad_loss;
  pass.gradients(slopes, op, false, true);
}

void argmax_cuda(const Argmax& op, Stream& stream) {
  check_linear(op, "linearArgmax");
  require(op.out.size == op.batch * op.length && op.shift == 0, "linearArgmax: size of out");
  FinishWork finish;
  finish.ending = Ending::largest;
  finish.place = op.out.as<int32_t>();
  Pass pass(op, sums_of(op), sums_of(op), "linearArgmax", stream);
  pass.keep();
  pass.states(Extra::largest, finish);
}

}  // namespace surprisal::linear_cross_entropy
