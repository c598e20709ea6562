// One row: the sums of its blocks, merged in their order; loss; gradient, for which the row comes
// out of the cache again. Rows are shared out to threads; where there are few of them their blocks
// are. A block's bounds depend on V and the dtype alone, so both ways give the same bits.
#include "cpu/logit_map.h"
#include "cpu/pairs.h"
#include "ops/cross_entropy/blocks.h"

namespace cross_entropy {

using namespace ::surprisal::cross_entropy;

template <class T>
class Kernel {
 public:
  using Real = accumulator_t<T>;
  using Sums = BlockSums<Real>;
  static constexpr int64_t kBlock = 8192 / sizeof(T);

  Kernel(const Problem& op, const Rows& rows)
      : op_(op),
        rows_(rows),
        x_(op.logits.as<T>()),
        V_(op.classes),
        blocks_((op.classes + kBlock - 1) / kBlock),
        map_(logit_map(op.temperature, op.softcap, op.cap_first)),
        f_(map_),
        weighted_(rows.soft() || op.label_smoothing != 0),
        plain_(map_.identity() && !weighted_),
        stream_(2 * op.logits.size * int64_t(sizeof(T)) > last_level_cache_bytes()),
        class_weight_(weighted_ && op.class_weight ? V_ : 0) {
    options_ = {op.label_smoothing, op.z_loss, static_cast<Epilogue>(op.epilogue), op.epilogue_k};
    for (int64_t c = 0; c < V_ && class_weight_.data(); ++c)
      class_weight_[c] = static_cast<Real>(rows.class_weight(c));
  }

  void forward(Stats* stats, T* grad) const;
  void backward(const Stats* stats, const double* scale, T* grad, const View& grad_target) const;

 private:
  struct Slope {
    GradientRow<Real> row;
    double target;
  };

  bool few_rows() const { return op_.rows < 8 * num_threads() && blocks_ > 1; }
  int64_t grain() const { return std::max<int64_t>(1, 32768 / std::max<int64_t>(V_, 1)); }
  int64_t room() const { return rows_.soft() ? kBlock : 0; }

  Block<T> block(int64_t n, int64_t begin, int64_t end, Real* q) const;
  void fill_weights(int64_t n, int64_t begin, int64_t end, Real* q) const;
  Sums sums(int64_t n, int64_t b, Real* q) const;
  Stats merged(int64_t n, const Sums* sums) const;
  RowSums row_sums(int64_t n, const Stats& s, double below) const;
  RowWeights row_weights(int64_t n) const;
  Slope slope(int64_t n, const Stats& s, double scale) const;
  void gradient(int64_t n, const Stats& s, double scale, int64_t begin, int64_t end, Real* q,
                T* grad) const;
  void gradient_of_target(int64_t n, const Stats& s, double scale, int64_t begin, int64_t end,
                          const View& out) const;

  const Problem& op_;
  const Rows& rows_;
  const T* x_;  // (N, V)
  int64_t V_, blocks_;
  LogitMap map_;
  LogitVectors<Real> f_;
  RowOptions options_;
  bool weighted_, plain_, stream_;
  Scratch<Real> class_weight_;
};

template <class T>
inline accumulator_t<T> widened(T x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return to_float(x);
  }
}

template <class T>
inline T from_real(accumulator_t<T> x) {
  if constexpr (std::is_same_v<T, double>) {
    return x;
  } else {
    return from_float<T>(x);
  }
}

// q_c = w_c ((1-s) t_c + s/V) of a block of probabilities.
template <class T>
void Kernel<T>::fill_weights(int64_t n, int64_t begin, int64_t end, Real* q) const {
  const Real share = static_cast<Real>(1 - op_.label_smoothing);
  const Real even = static_cast<Real>(op_.label_smoothing / static_cast<double>(V_));
  visit_float(op_.target.dtype, [&](auto tag) {
    using U = typename decltype(tag)::type;
    const U* t = op_.target.as<U>() + n * V_;
    int64_t c = begin;
    if constexpr (std::is_same_v<accumulator_t<U>, Real>) {
      for (; c + kLanes<Real> <= end; c += kLanes<Real>)
        store(q + c - begin, fma(load_wide(t + c), splat(share), splat(even)));
    }
    for (; c < end; ++c) q[c - begin] = static_cast<Real>(widened(t[c])) * share + even;
  });
  if (!class_weight_.data()) return;
  int64_t c = begin;
  for (; c + kLanes<Real> <= end; c += kLanes<Real>)
    store(q + c - begin, load(q + c - begin) * load(class_weight_.data() + c));
  for (; c < end; ++c) q[c - begin] *= class_weight_[c];
}

template <class T>
Block<T> Kernel<T>::block(int64_t n, int64_t begin, int64_t end, Real* q) const {
  const Real* weights = class_weight_.data() ? class_weight_.data() + begin : nullptr;
  if (rows_.soft()) {
    fill_weights(n, begin, end, q);
    weights = q;
  }
  const int64_t target = rows_.soft() ? -1 : rows_.target(n) - begin;
  return {x_ + n * V_ + begin, end - begin, target, weights, rows_.soft(), weighted_};
}

template <class T>
BlockSums<accumulator_t<T>> Kernel<T>::sums(int64_t n, int64_t b, Real* q) const {
  const int64_t begin = b * kBlock;
  const Block<T> part = block(n, begin, std::min(V_, begin + kBlock), q);
  // The next block of this row, or for short rows the next rows.
  const int64_t ahead = kBlock;
  return plain_ ? plain_sums(part, ahead) : general_sums(part, f_, ahead);
}

template <class T>
RowSums Kernel<T>::row_sums(int64_t n, const Stats& s, double below) const {
  const double k = f_.k;
  if (rows_.soft()) return {s.max * k, s.others, 0, below};
  const Real target = f_.value(widened(x_[n * V_ + rows_.target(n)]));
  return {s.max * k, s.others, (target - s.max) * k, below};
}

template <class T>
RowWeights Kernel<T>::row_weights(int64_t n) const {
  return {rows_.class_weight(rows_.target(n)), rows_.class_weight_sum(), double(V_)};
}

template <class T>
Stats Kernel<T>::merged(int64_t n, const Sums* sums) const {
  const double k = f_.k;
  double max = std::numeric_limits<Real>::lowest();
  for (int64_t b = 0; b < blocks_; ++b) max = std::max(max, double(sums[b].max));
  double sum = 0, below = 0, weight = 0, largest = 0;
  for (int64_t b = 0; b < blocks_; ++b) {
    const Sums& s = sums[b];
    weight += s.weight;
    below += s.below;
    if (s.max == max) {
      sum += s.sum;
      largest += s.largest;
    } else {
      const double d = (s.max - max) * k;
      sum += (double(s.sum) + s.largest) * std::exp(d);
      if (s.weight != 0) below -= s.weight * d;
    }
  }
  Stats out{max, rows_.soft() ? sum + (largest - 1) : sum, 0, weight};
  RowSums row = row_sums(n, out, below);
  // An infinite logit, or none but -inf: one of them may hide as the target or the largest.
  const bool none = max == std::numeric_limits<Real>::lowest() && sum + largest == 0 &&
                    (rows_.soft() || row.target != 0);
  if (none || max > std::numeric_limits<Real>::max())
    row.others = out.others = std::numeric_limits<double>::quiet_NaN();
  if (rows_.soft()) {
    const double log_sum = std::log1p(out.others);
    const double lse = row.max + log_sum;
    out.loss = weight * log_sum + below + (options_.z_loss != 0 ? options_.z_loss * lse * lse : 0);
  } else {
    out.loss = row_loss(options_, row, row_weights(n)).loss;
  }
  return out;
}

template <class T>
typename Kernel<T>::Slope Kernel<T>::slope(int64_t n, const Stats& s, double scale) const {
  const RowSums row = row_sums(n, s, 0);
  const Real max = static_cast<Real>(s.max);
  if (!rows_.soft()) {
    const RowSlope r = row_slope(options_, row, row_weights(n), scale);
    const double x = widened(x_[n * V_ + rows_.target(n)]);
    return {{max, Real(r.p), Real(r.w), false, 0, 0}, r.target * map_slope(map_, x)};
  }
  const double inverse = 1 / (1 + s.others);
  const double rest = options_.z_loss != 0 ? 2 * options_.z_loss * row_lse(row) : 0;
  const double p = scale * (s.weight + rest) * inverse;
  const double largest = scale * (rest - s.weight * s.others) * inverse;
  return {{max, Real(p), Real(scale), s.others < 1, Real(s.weight), Real(largest)}, 0};
}

template <class T>
void Kernel<T>::gradient(int64_t n, const Stats& s, double scale, int64_t begin, int64_t end,
                         Real* q, T* grad) const {
  T* out = grad + n * V_ + begin;
  if (rows_.ignored(n) || scale == 0) {
    std::memset(static_cast<void*>(out), 0, (end - begin) * sizeof(T));
    return;
  }
  const Slope g = slope(n, s, scale * rows_.token_weight(n));
  if (std::isnan(g.row.p)) {
    std::fill(out, grad + n * V_ + end, from_real<T>(std::numeric_limits<Real>::quiet_NaN()));
    return;
  }
  // Weights of probabilities are made block by block, all others lie ready for the whole row.
  const int64_t step = rows_.soft() ? kBlock : end - begin;
  for (int64_t at = begin; at < end; at += step) {
    const int64_t to = std::min(end, at + step);
    if (plain_) {
      plain_gradient(x_ + n * V_ + at, to - at, g.row, grad + n * V_ + at, stream_);
    } else {
      general_gradient(block(n, at, to, q), f_, g.row, grad + n * V_ + at, stream_);
    }
  }
  const int64_t y = rows_.target(n);
  if (!rows_.soft() && y >= begin && y < end) grad[n * V_ + y] = from_real<T>(Real(g.target));
}

template <class T>
void Kernel<T>::gradient_of_target(int64_t n, const Stats& s, double scale, int64_t begin,
                                   int64_t end, const View& out) const {
  Scratch<Real> part(kBlock);
  const bool none = scale == 0;
  scale *= rows_.token_weight(n) * (1 - op_.label_smoothing);
  for (int64_t at = begin; at < end; at += kBlock) {
    const int64_t to = std::min(end, at + kBlock);
    const Real* weights = class_weight_.data() ? class_weight_.data() + at : nullptr;
    target_gradient<T>({x_ + n * V_ + at, to - at, -1, weights, true, true}, f_, Real(s.max),
                       Real(std::log1p(s.others)), Real(scale), part.data());
    visit_float(out.dtype, [&](auto tag) {
      using U = typename decltype(tag)::type;
      U* to_store = out.as<U>() + n * V_ + at;
      for (int64_t i = 0; i < to - at; ++i) to_store[i] = from_real<U>(none ? 0 : part[i]);
    });
  }
}

template <class T>
void Kernel<T>::forward(Stats* stats, T* grad) const {
  if (few_rows()) {
    Scratch<Sums> all(op_.rows * blocks_);
    parallel_for(op_.rows * blocks_, 8, [&](int64_t begin, int64_t end) {
      Scratch<Real> q(room());
      for (int64_t i = begin; i < end; ++i) {
        if (!rows_.ignored(i / blocks_)) all[i] = sums(i / blocks_, i % blocks_, q.data());
      }
    });
    for (int64_t n = 0; n < op_.rows; ++n)
      stats[n] = rows_.ignored(n) ? Stats{} : merged(n, all.data() + n * blocks_);
    if (grad) {
      const Scratch<double> scale(op_.rows);
      for (int64_t n = 0; n < op_.rows; ++n) scale[n] = rows_.scale(1);
      backward(stats, scale.data(), grad, {});
    }
    return;
  }
  parallel_for(op_.rows, grain(), [&](int64_t begin, int64_t end) {
    Scratch<Real> q(room());
    Scratch<Sums> row(blocks_);
    for (int64_t n = begin; n < end; ++n) {
      for (int64_t b = 0; b < blocks_ && !rows_.ignored(n); ++b) row[b] = sums(n, b, q.data());
      stats[n] = rows_.ignored(n) ? Stats{} : merged(n, row.data());
      if (grad) gradient(n, stats[n], rows_.scale(1), 0, V_, q.data(), grad);
    }
    stream_fence();
  });
}

template <class T>
void Kernel<T>::backward(const Stats* stats, const double* scale, T* grad,
                         const View& grad_target) const {
  const bool split = few_rows();
  const int64_t parts = split ? blocks_ : 1, step = split ? kBlock : V_;
  parallel_for(op_.rows * parts, split ? 8 : grain(), [&](int64_t first, int64_t last) {
    Scratch<Real> q(room());
    for (int64_t i = first; i < last; ++i) {
      const int64_t n = i / parts, begin = i % parts * step;
      const int64_t end = std::min(V_, begin + step);
      if (grad) gradient(n, stats[n], scale[n], begin, end, q.data(), grad);
      if (grad_target) gradient_of_target(n, stats[n], scale[n], begin, end, grad_target);
    }
    stream_fence();
  });
}

void forward(const Forward& op, const Rows& rows, Stats* stats) {
  visit_float(op.logits.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Kernel<T>(op, rows).forward(stats, op.grad_logits.as<T>());
  });
}

void backward(const Backward& op, const Rows& rows, const Stats* stats, const double* scale,
              const View& grad) {
  visit_float(op.logits.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    Kernel<T>(op, rows).backward(stats, scale, grad.as<T>(), op.grad_target);
  });
}

void scale(const Scale& op, double factor) {
  visit_float(op.grad.dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    using Real = accumulator_t<T>;
    const T* grad = op.grad.as<T>();
    T* out = op.out.as<T>();
    const auto by = splat(static_cast<Real>(factor));
    // Rows of NaN have no gradient either where the upstream gradient is 0.
    if (factor == 0) return std::memset(op.out.data, 0, op.out.size * sizeof(T)), void();
    parallel_for(op.grad.size, 65536, [&](int64_t begin, int64_t end) {
      int64_t i = begin;
      for (; i + kLanes<Real> <= end; i += kLanes<Real>)
        store_narrow(out + i, load_wide(grad + i) * by);
      if (i < end)
        store_narrow_part(out + i, load_wide_part(grad + i, end - i, Real(0)) * by, end - i);
    });
  });
}

}  // namespace cross_entropy
