// The earth mover loss of rows of logits on CUDA; formulas in op.h and row.h. A row of logits is
// held in registers (cuda/row_hold.h) while sums of powers and of powers times cosines are found;
// the cosines are read beside it, once for the sums and, from L2, once for the gradient. Floor: a
// read of logits and of cosines, with a gradient a write; 16-bit gradients are made in backward,
// which reads both again: 10 bytes an element of bfloat16 in all. Cosines come from the labels'
// rows of the table where its dtype is the logits' (or bfloat16 beside float32); else the labels'
// rows of it are widened for some hundred rows of logits at a time, or made from the embedding: a
// product of 2 V H flop a row on top.
#include <string>

#include "cuda/launch.h"
#include "ops/emo/check.h"
#include "ops/emo/device.h"
#include "ops/emo/plan.h"

namespace surprisal::emo {
namespace {

constexpr int kThreads = 256;

// The labels' rows of a table of another dtype, as accumulators.
template <class A>
__global__ void __launch_bounds__(kThreads)
    emo_widen_kernel(Numbers table, int64_t classes, const int32_t* label, int64_t size, A* out) {
  const int64_t i = block_index() * kThreads + thread_index();
  if (i >= size) return;
  const int64_t n = i / classes, y = load(label + n);
  store(out + i, y < 0 ? A(0) : static_cast<A>(table[y * classes + (i - n * classes)]));
}

// --- launches ------------------------------------------------------------------------------------

// Some rows of logits and the cosines beside them.
template <class T, class U>
void run_rows(const OnLogits& op, const RowContext& about, int64_t first, int64_t count,
              const U* cosines, bool by_label, Stream& stream) {
  const int64_t begin = first * op.classes;
  T* const out = op.grad_logits ? op.grad_logits.as<T>() + begin : nullptr;
  const LogitRows<T, U> rows{{op.logits.as<T>() + begin},
                             out,
                             count,
                             op.classes,
                             first,
                             cosines,
                             (by_label ? op.classes : count) * op.classes,
                             by_label,
                             about};
  launch_rows(rows,
              plan_hold({count, op.classes, op.logits.dtype, stream.properties().has_clusters()}),
              stream);
}

// Cosines made for some rows at a time.
template <class T>
void run_made(const OnLogits& op, const RowContext& about, Stream& stream) {
  using A = accumulator_t<T>;
  const int64_t each = rows_at_once(op.rows, op.classes, sizeof(A));
  A* const made = stream.scratch<A>(each * op.classes);
  const void* inverse = nullptr;
  LabelRows own{};
  if (op.embedding) {
    inverse = inverse_norms(op.embedding, op.classes, op.width, stream);
    own = {stream.scratch<T>(each * op.width), stream.scratch<A>(each)};
  }
  for (int64_t first = 0; first < op.rows; first += each) {
    const int64_t count = std::min(each, op.rows - first), size = count * op.classes;
    const int32_t* const label = about.label + first;
    if (op.embedding) {
      gather_labels(op.embedding, op.width, inverse, label, count, own, stream);
      multiply({op.logits.dtype, own.rows, op.embedding.data, count, op.classes, op.width,
                own.scale, inverse, made, op.classes},
               stream);
    } else {
      launch(stream, emo_widen_kernel<A>, {(size + kThreads - 1) / kThreads, kThreads},
             Numbers(op.cosines), op.classes, label, size, made);
    }
    run_rows<T>(op, about, first, count, static_cast<const A*>(made), false, stream);
  }
}

void run(const OnLogits& op, const RowContext& about, Stream& stream) {
  if (op.rows == 0) return;
  visit_float(op.logits.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    if (op.cosines && op.cosines.dtype == op.logits.dtype)
      return run_rows<T>(op, about, 0, op.rows, op.cosines.as<T>(), true, stream);
    if constexpr (std::is_same_v<T, float>)
      if (op.cosines && op.cosines.dtype == DType::bf16)
        return run_rows<T>(op, about, 0, op.rows, op.cosines.as<BFloat16>(), true, stream);
    run_made<T>(op, about, stream);
  });
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check(op);
  RowContext about = context_of(op, raise_target<false>, raise_nan_weight<false>, stream);
  if (op.grad_logits && about.weights.divides())
    about.totals = token_totals(about.weights, false, {}, stream);
  run(op, about, stream);
  if (about.weights.reduction != Reduction::none) {
    token_totals(about.weights, true, op.loss, stream);
  } else if (op.rows > 0) {
    token_losses(about.weights, op.loss, stream);
  }
}

void backward_cuda(const Backward& op, Stream& stream) {
  check(op);
  if (op.rows == 0) return;
  RowContext about = context_of(op, raise_target<false>, raise_nan_weight<false>, stream);
  const bool of_weights = bool(op.grad_token_weight);
  about.upstream = op.upstream;
  about.totals = token_totals(about.weights, of_weights, {}, stream);
  if (of_weights)
    token_gradient(about.weights, about.totals, op.upstream, op.grad_token_weight, stream);
  if (!op.grad_logits) return;
  about.row_loss = nullptr;
  run(op, about, stream);
}

}  // namespace surprisal::emo
