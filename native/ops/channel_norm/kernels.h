// A row is one channel of one item, S elements; rows are walked in blocks of the compute type.
// Included once per target.
#include "cpu/blocks.h"

namespace channel_norm {

using ::surprisal::channel_norm::Backward;
using ::surprisal::channel_norm::Forward;

constexpr int64_t kGrain = 16384;  // elements worth waking a thread for

// Σ f(a[i], b[i]) over a block, with four partial sums per lane.
template <class C, class F>
double sum_block(int64_t n, const C* a, const C* b, F f) {
  using V = vector_t<C>;
  constexpr int64_t kStep = kLanes<C>;
  V sum[4] = {};
  int64_t i = 0;
  for (; i + 4 * kStep <= n; i += 4 * kStep)
    for (int k = 0; k < 4; ++k) sum[k] += f(load(a + i + k * kStep), load(b + i + k * kStep));
  for (; i + kStep <= n; i += kStep) sum[0] += f(load(a + i), load(b + i));
  C tail = 0;
  if (i < n) {
    C left[kStep] = {}, right[kStep] = {};
    std::copy(a + i, a + n, left);
    std::copy(b + i, b + n, right);
    store(left, f(load(left), load(right)));
    for (int64_t j = 0; i + j < n; ++j) tail += left[j];
  }
  return reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3])) + tail;
}

// to[i] = f(a[i], b[i]).
template <class C, class F>
void map_block(int64_t n, const C* a, const C* b, C* to, F f) {
  constexpr int64_t kStep = kLanes<C>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) store(to + i, f(load(a + i), load(b + i)));
  if (i < n) {
    C left[kStep] = {}, right[kStep] = {};
    std::copy(a + i, a + n, left);
    std::copy(b + i, b + n, right);
    store(left, f(load(left), load(right)));
    std::copy(left, left + (n - i), to + i);
  }
}

// The terms of sums; lambdas inside lambdas would not be compiled for the target.
struct First {
  template <class V>
  V operator()(V v, V) const {
    return v;
  }
};
template <class C>
struct SquaredDistance {
  C mean;
  template <class V>
  V operator()(V x, V) const {
    return (x - mean) * (x - mean);
  }
};
template <class C>
struct Along {
  C mean, r;
  template <class V>
  V operator()(V g, V x) const {
    return g * ((x - mean) * r);
  }
};

// Rows by the statistic they belong to.
struct Layout {
  int64_t batch, channels, size, groups;

  template <class Op>
  explicit Layout(const Op& op)
      : batch(op.batch), channels(op.channels), size(op.size), groups(op.groups) {}

  int64_t rows() const { return batch * channels; }
  int64_t statistics() const { return groups ? batch * groups : channels; }
  int64_t statistic(int64_t row) const {
    return groups ? row / (channels / groups) : row % channels;
  }
  // Elements of a statistic.
  int64_t count() const { return (groups ? channels / groups : batch) * size; }
  // Calls f(row) for the rows of a statistic in order.
  template <class F>
  void each(int64_t statistic, F f) const {
    const int64_t width = groups ? channels / groups : batch;
    for (int64_t i = 0; i < width; ++i)
      f(groups ? statistic * width + i : i * channels + statistic);
  }
  // Calls f(row) for all rows, in parallel.
  template <class F>
  void each_row(F f) const {
    parallel_for(rows(), std::max<int64_t>(1, kGrain / std::max<int64_t>(1, size)),
                 [&](int64_t first, int64_t last) {
                   for (int64_t row = first; row < last; ++row) f(row);
                 });
  }
};

// Calls f(block of a, block of b, offset, count); b may be absent (then it is a's).
template <class C, class F>
void each_block(const View& a, const View& b, int64_t row, int64_t size, F f) {
  alignas(64) C left[kBlock], right[kBlock];
  for (int64_t i = 0; i < size; i += kBlock) {
    const int64_t count = std::min(kBlock, size - i), offset = row * size + i;
    const C* x = block_of(a, offset, count, left);
    f(x, b ? block_of(b, offset, count, right) : x, offset, count);
  }
}

// All elements of a small tensor.
template <class C>
void load_all(const View& view, C* to) {
  load_block(view.dtype, view.data, 0, view.size, to);
}

// f of each row summed, per statistic in order.
template <class C, class F>
void totals(const Layout& layout, const View& x, double* row_sum, double* total, F f) {
  layout.each_row([&](int64_t row) {
    const auto term = f(layout.statistic(row));
    double sum = 0;
    each_block<C>(x, {}, row, layout.size, [&](const C* a, const C* b, int64_t, int64_t n) {
      sum += sum_block(n, a, b, term);
    });
    row_sum[row] = sum;
  });
  for (int64_t s = 0; s < layout.statistics(); ++s) {
    total[s] = 0;
    layout.each(s, [&](int64_t row) { total[s] += row_sum[row]; });
  }
}

// running += momentum (now - running), for each channel.
template <class C>
void move_running(const View& running, const double* now, double factor, double momentum) {
  if (!running) return;
  const Scratch<C> memory(running.size);
  load_all(running, memory.data());
  for (int64_t c = 0; c < running.size; ++c) {
    const double old = memory[c];
    memory[c] = static_cast<C>((1 - momentum) * old + momentum * (now[c] * factor));
  }
  store_block(running.dtype, memory.data(), running.size, running.data, 0);
}

template <class C>
void statistics(const Forward& op, const Layout& layout, C* mean, C* r) {
  const int64_t count = layout.statistics();
  const double n = static_cast<double>(layout.count());
  const Scratch<double> memory(layout.rows() + 2 * count);
  double* center = memory.data() + layout.rows();
  double* variance = center + count;
  totals<C>(layout, op.x, memory.data(), center, [](int64_t) { return First{}; });
  for (int64_t s = 0; s < count; ++s) mean[s] = static_cast<C>(center[s] /= n);
  totals<C>(layout, op.x, memory.data(), variance,
            [&](int64_t s) { return SquaredDistance<C>{mean[s]}; });
  for (int64_t s = 0; s < count; ++s)
    r[s] = static_cast<C>(1 / std::sqrt((variance[s] /= n) + op.eps));
  move_running<C>(op.running_mean, center, 1, op.momentum);
  move_running<C>(op.running_var, variance, n / (n - 1), op.momentum);
}

template <class C>
void forward_as(const Forward& op) {
  using V = vector_t<C>;
  const Layout layout(op);
  C* mean = op.mean.template as<C>();
  C* r = op.r.template as<C>();
  if (op.fixed) {
    load_all(op.running_mean, mean);
    load_all(op.running_var, r);
    for (int64_t c = 0; c < op.channels; ++c)
      r[c] = static_cast<C>(1 / std::sqrt(static_cast<double>(r[c]) + op.eps));
  } else {
    statistics(op, layout, mean, r);
  }
  const Scratch<C> parameters(2 * op.channels);
  C* weight = parameters.data();
  C* bias = weight + op.channels;
  op.weight ? load_all(op.weight, weight) : void(std::fill_n(weight, op.channels, C(1)));
  op.bias ? load_all(op.bias, bias) : void(std::fill_n(bias, op.channels, C(0)));
  layout.each_row([&](int64_t row) {
    const int64_t s = layout.statistic(row), c = row % op.channels;
    const C m = mean[s], scale = r[s], w = weight[c], b = bias[c];
    alignas(64) C y[kBlock];
    each_block<C>(op.x, {}, row, op.size, [&](const C* x, const C*, int64_t at, int64_t n) {
      map_block(n, x, x, y, [&](V v, V) { return (v - m) * scale * w + b; });
      store_block(op.y.dtype, y, n, op.y.data, at);
    });
  });
}

// Σ of f(row) over the batch, per channel, as the dtype of `out`.
template <class C, class F>
void sum_channels(const View& out, int64_t batch, int64_t channels, F f) {
  const Scratch<C> memory(channels);
  for (int64_t c = 0; c < channels; ++c) {
    double sum = 0;
    for (int64_t b = 0; b < batch; ++b) sum += f(b * channels + c);
    memory[c] = static_cast<C>(sum);
  }
  store_block(out.dtype, memory.data(), channels, out.data, 0);
}

template <class C>
void backward_as(const Backward& op) {
  using V = vector_t<C>;
  const Layout layout(op);
  const C* mean = op.mean.template as<C>();
  const C* r = op.r.template as<C>();
  const int64_t rows = layout.rows(), count = layout.statistics();
  const Scratch<double> memory(2 * rows + 2 * count);
  double *level = memory.data(), *along = level + rows;  // Σ g and Σ g h per row
  double *mean_q = along + rows, *mean_qh = mean_q + count;
  const Scratch<C> weight(op.channels);
  op.weight ? load_all(op.weight, weight.data())
            : void(std::fill_n(weight.data(), op.channels, C(1)));
  const bool needs_sums = op.dweight || op.dbias || !op.fixed;
  if (needs_sums) {
    layout.each_row([&](int64_t row) {
      const C m = mean[layout.statistic(row)], scale = r[layout.statistic(row)];
      level[row] = along[row] = 0;
      each_block<C>(op.g, op.x, row, op.size, [&](const C* g, const C* x, int64_t, int64_t n) {
        level[row] += sum_block(n, g, g, First{});
        along[row] += sum_block(n, g, x, Along<C>{m, scale});
      });
    });
  }
  if (op.dweight)
    sum_channels<C>(op.dweight, op.batch, op.channels, [&](int64_t row) { return along[row]; });
  if (op.dbias)
    sum_channels<C>(op.dbias, op.batch, op.channels, [&](int64_t row) { return level[row]; });
  if (!op.dx || !op.x.size) return;
  for (int64_t s = 0; s < count; ++s) {
    mean_q[s] = mean_qh[s] = 0;
    if (op.fixed) continue;
    layout.each(s, [&](int64_t row) {
      mean_q[s] += level[row] * weight[row % op.channels];
      mean_qh[s] += along[row] * weight[row % op.channels];
    });
    mean_q[s] /= static_cast<double>(layout.count());
    mean_qh[s] /= static_cast<double>(layout.count());
  }
  layout.each_row([&](int64_t row) {
    const int64_t s = layout.statistic(row);
    const C m = mean[s], scale = r[s], w = weight[row % op.channels];
    const C q = static_cast<C>(mean_q[s]), qh = static_cast<C>(mean_qh[s]);
    alignas(64) C dx[kBlock];
    each_block<C>(op.g, op.x, row, op.size, [&](const C* g, const C* x, int64_t at, int64_t n) {
      map_block(n, g, x, dx, [&](V v, V u) { return (v * w - q - (u - m) * scale * qh) * scale; });
      store_block(op.dx.dtype, dx, n, op.dx.data, at);
    });
  });
}

inline void forward(const Forward& op) {
  op.x.dtype == DType::f64 ? forward_as<double>(op) : forward_as<float>(op);
}
inline void backward(const Backward& op) {
  op.x.dtype == DType::f64 ? backward_as<double>(op) : backward_as<float>(op);
}

}  // namespace channel_norm
