// Bodies build on each other: their order matters.
#include "cpu/gemm.h"
#include "cpu/blocks.h"
#include "cpu/row_softmax.h"

namespace emo {

using namespace ::surprisal::emo;
#include "ops/emo/norms.h"
#include "ops/emo/cosines.h"

// One row of logits against the cosines of its label, block by block, in one pass over the logits:
// powers are taken less the largest one so far. Those of a gradient are kept in its own memory, for
// 16-bit ones in scratch.
template <class C>
class LogitRow {
  using V = vector_t<C>;
  static constexpr int64_t L = kLanes<C>;
  static constexpr C kNone = -std::numeric_limits<C>::infinity();

 public:
  // What a row with a gradient keeps besides, in numbers.
  static int64_t kept(const OnLogits& op) {
    const int64_t blocks = (op.classes + kBlock - 1) / kBlock;
    if (!op.grad_logits) return 0;
    return blocks + (op.grad_logits.dtype == kNative<C> ? 0 : op.classes);
  }

  // `cosines` (V), at element `at` of that view; `memory` as kept() says.
  LogitRow(const OnLogits& op, int64_t n, int64_t label, const View& cosines, int64_t at, C* memory)
      : op_(op), begin_(n * op.classes), label_(label), cosines_(cosines), at_(at) {
    if (!op.grad_logits) return;
    const bool in_place = op.grad_logits.dtype == kNative<C>;
    top_ = memory + (in_place ? 0 : op.classes);
    power_ = in_place ? static_cast<C*>(op.grad_logits.data) + begin_ : memory;
  }

  RowTotals totals() {
    RowTotals t;
    const double target = value_of(op_.logits, begin_ + label_);
    t.max = target;
    each_block([&](const C* z, const C* c, int64_t first, int64_t size) {
      raise(block_max(z, size), t);
      const V top = splat(static_cast<C>(t.max));
      V others{}, near{};
      for (int64_t k = 0; k < size; k += L) {
        const V e = exp_nonpositive(part(z, k, size, kNone) - top);
        others += e;
        near = fma(e, part(c, k, size, C{0}), near);
        if (power_) put(e, power_ + first, k, size);
      }
      if (power_) top_[first / kBlock] = static_cast<C>(t.max);
      t.others += reduce_add(others);
      t.near += reduce_add(near);
      const int64_t own = label_ - first;
      if (own >= 0 && own < size) t.own_cosine = c[own];
    });
    t.target = target - t.max;
    max_ = t.max;
    return t;
  }

  // After totals().
  void write_gradient(const RowValue& row, double scale, const View& grad) {
    C buffer[kBlock];
    for (int64_t first = 0; first < op_.classes; first += kBlock) {
      const int64_t size = std::min(kBlock, op_.classes - first);
      const double since = std::exp(top_[first / kBlock] - max_) * scale;
      const V p = splat(static_cast<C>(row.p * since)), q = splat(static_cast<C>(row.q * since));
      const C* c = block_of(cosines_, at_ + first, size, buffer);
      C* const dz = power_ + first;
      for (int64_t k = 0; k < size; k += L)
        put(part(dz, k, size, C{0}) * fma(q, part(c, k, size, C{0}), p), dz, k, size);
      const int64_t own = label_ - first;
      if (own >= 0 && own < size) dz[own] = static_cast<C>(row.own * scale);
      if (grad.dtype != kNative<C>) store_block(grad.dtype, dz, size, grad.data, begin_ + first);
    }
  }

 private:
  // Elements k and on, of n.
  static void put(V v, C* to, int64_t k, int64_t n) {
    if (k + L <= n) return store(to + k, v);
    for (int64_t l = 0; l < n - k; ++l) to[k + l] = v[l];
  }
  static C block_max(const C* z, int64_t size) {
    V most = splat(kNone);
    for (int64_t k = 0; k < size; k += L) {
      const V v = part(z, k, size, kNone);
      most = select((v > most) | (v != v), v, most);
    }
    C top = kNone;
    for (int l = 0; l < L; ++l) top = most[l] > top || most[l] != most[l] ? most[l] : top;
    return top;
  }
  // The largest logit so far; one that is not a number stays.
  static void raise(double top, RowTotals& t) {
    if (!(top > t.max || top != top)) return;
    const double since = std::exp(t.max - top);
    t.others *= since;
    t.near *= since;
    t.max = top;
  }

  // Calls f(z, c, first class, classes) with z of the label at -inf, so that it counts nothing.
  template <class F>
  void each_block(F&& f) const {
    C z[kBlock], c[kBlock];
    for (int64_t first = 0; first < op_.classes; first += kBlock) {
      const int64_t size = std::min(kBlock, op_.classes - first);
      const C* logits = block_of(op_.logits, begin_ + first, size, z);
      const int64_t own = label_ - first;
      if (own >= 0 && own < size) {
        if (logits != z) std::copy_n(logits, size, z);
        z[own] = kNone;
        logits = z;
      }
      f(logits, block_of(cosines_, at_ + first, size, c), first, size);
    }
  }

  const OnLogits& op_;
  const int64_t begin_, label_;
  const View& cosines_;
  const int64_t at_;
  C *power_ = nullptr, *top_ = nullptr;
  double max_ = 0;
};

inline void zero_row(const View& grad, int64_t n, int64_t classes) {
  const int64_t bytes = classes * size_of(grad.dtype);
  std::memset(static_cast<char*>(grad.data) + n * bytes, 0, static_cast<size_t>(bytes));
}

template <class C>
void run_as(const OnLogits& op, const RowRules& rules, const int64_t* label, const double* scale,
            double* row_loss) {
  constexpr int64_t kRows = 64;
  std::unique_ptr<Cosines<C>> made;
  if (!op.cosines && op.rows > 0)
    made = std::make_unique<Cosines<C>>(op.embedding, op.classes, op.width, kRows);
  const int64_t step = made ? kRows : op.rows;
  for (int64_t first = 0; first < op.rows; first += step) {
    const int64_t count = std::min(step, op.rows - first);
    if (made) made->make(label + first, count);
    parallel_for(count, std::max<int64_t>(1, 16384 / op.classes), [&](int64_t begin, int64_t end) {
      const Scratch<C> memory(LogitRow<C>::kept(op));
      for (int64_t n = first + begin; n < first + end; ++n) {
        const int64_t y = label[n];
        if (row_loss) row_loss[n] = 0;
        if (y < 0 || scale[n] == 0) {
          if (op.grad_logits) zero_row(op.grad_logits, n, op.classes);
          continue;
        }
        const View& cosines = made ? made->view() : op.cosines;
        LogitRow<C> row(op, n, y, cosines, (made ? n - first : y) * op.classes, memory.data());
        const RowValue value = row_value(rules, row.totals());
        if (row_loss) row_loss[n] = value.loss;
        if (op.grad_logits) row.write_gradient(value, scale[n], op.grad_logits);
      }
    });
  }
}

// label: -1 for ignored rows. Rows of scale 0 are not read.
void run(const OnLogits& op, const RowRules& rules, const int64_t* label, const double* scale,
         double* row_loss) {
  op.logits.dtype == DType::f64 ? run_as<double>(op, rules, label, scale, row_loss)
                                : run_as<float>(op, rules, label, scale, row_loss);
}

}  // namespace emo
