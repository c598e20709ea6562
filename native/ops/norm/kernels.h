// One row at a time in the compute type; 16-bit storage goes through scratch rows.
// Included once per target.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace norm {

using ::surprisal::norm::Backward;
using ::surprisal::norm::Forward;

constexpr int64_t kGrain = 16384;   // elements worth waking a thread for
constexpr int64_t kMinChunk = 64;   // rows whose weight gradients are summed together
constexpr int64_t kMaxChunks = 64;  // bounds the memory of partial weight gradients

// Σ f(i) over i < n, f on vectors, with four partial sums per lane and a float64 total per block.
template <class C, class F, class G>
double sum_row(int64_t n, F vector, G scalar) {
  constexpr int64_t kStep = kLanes<C>;
  double total = 0;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    vector_t<C> sum[4] = {};
    C tail = 0;
    int64_t i = begin;
    for (; i + 4 * kStep <= end; i += 4 * kStep)
      for (int k = 0; k < 4; ++k) sum[k] += vector(i + k * kStep);
    for (; i + kStep <= end; i += kStep) sum[0] += vector(i);
    for (; i < end; ++i) tail += scalar(i);
    total += reduce_add((sum[0] + sum[1]) + (sum[2] + sum[3])) + tail;
  }
  return total;
}

// A row of a tensor that may be absent.
template <class C>
const C* row_of(const View& view, int64_t row, int64_t width, C* buffer) {
  return view ? block_of(view, row * width, width, buffer) : nullptr;
}
template <class C>
C* target_row(const View& view, int64_t row, int64_t width, C* buffer) {
  return view.dtype == kNative<C> ? static_cast<C*>(view.data) + row * width : buffer;
}

template <class C>
void forward_row(const Forward& op, int64_t row, const C* w, const C* b, const C* x, C* y) {
  using V = vector_t<C>;
  constexpr int64_t kStep = kLanes<C>;
  const int64_t n = op.width;
  C mean = 0;
  if (op.mean) {
    mean = static_cast<C>(
        sum_row<C>(
            n, [&](int64_t i) { return load(x + i); }, [&](int64_t i) { return x[i]; }) /
        static_cast<double>(n));
    op.mean.template as<C>()[row] = mean;
  }
  const double squares = sum_row<C>(
      n,
      [&](int64_t i) {
        const V d = load(x + i) - mean;
        return d * d;
      },
      [&](int64_t i) { return (x[i] - mean) * (x[i] - mean); });
  const C r = static_cast<C>(1 / std::sqrt(squares / static_cast<double>(n) + op.eps));
  op.r.template as<C>()[row] = r;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    V v = (load(x + i) - mean) * r;
    if (w) v *= load(w + i);
    if (b) v += load(b + i);
    store(y + i, v);
  }
  for (; i < n; ++i) {
    C v = (x[i] - mean) * r;
    if (w) v *= w[i];
    if (b) v += b[i];
    y[i] = v;
  }
}

template <class C>
void forward_as(const Forward& op) {
  const int64_t width = op.width;
  const bool direct = op.x.dtype == kNative<C>;
  const Scratch<C> shared(direct ? 0 : 2 * width);
  const C* w = row_of(op.weight, 0, width, shared.data());
  const C* b = row_of(op.bias, 0, width, direct ? nullptr : shared.data() + width);
  const int64_t grain = std::max<int64_t>(1, kGrain / width);
  parallel_for(op.rows, grain, [&](int64_t first, int64_t last) {
    const Scratch<C> scratch(direct ? 0 : width);
    for (int64_t row = first; row < last; ++row) {
      const C* x = row_of(op.x, row, width, scratch.data());
      C* y = target_row(op.y, row, width, scratch.data());
      forward_row(op, row, w, b, x, y);
      if (!direct) store_block(op.y.dtype, y, width, op.y.data, row * width);
    }
  });
}

template <class C>
void input_gradient_row(const C* x, const C* g, const C* w, C mean, C r, bool centred, int64_t n,
                        C* dx) {
  using V = vector_t<C>;
  constexpr int64_t kStep = kLanes<C>;
  const auto q = [&](int64_t i) { return w ? load(g + i) * load(w + i) : load(g + i); };
  const auto q1 = [&](int64_t i) { return w ? g[i] * w[i] : g[i]; };
  const double inverse = 1 / static_cast<double>(n);
  const C along =
      static_cast<C>(inverse * sum_row<C>(
                                   n, [&](int64_t i) { return q(i) * ((load(x + i) - mean) * r); },
                                   [&](int64_t i) { return q1(i) * ((x[i] - mean) * r); }));
  const C level = centred ? static_cast<C>(inverse * sum_row<C>(n, q, q1)) : C(0);
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const V h = (load(x + i) - mean) * r;
    store(dx + i, (q(i) - level - h * along) * r);
  }
  for (; i < n; ++i) dx[i] = (q1(i) - level - (x[i] - mean) * r * along) * r;
}

// dweight and dbias of a chunk: sums += g h, g.
template <class C>
void add_weight_gradient(const C* x, const C* g, C mean, C r, int64_t n, C* dw, C* db) {
  constexpr int64_t kStep = kLanes<C>;
  int64_t i = 0;
  for (; i + kStep <= n; i += kStep) {
    const auto v = load(g + i);
    if (dw) store(dw + i, load(dw + i) + v * ((load(x + i) - mean) * r));
    if (db) store(db + i, load(db + i) + v);
  }
  for (; i < n; ++i) {
    if (dw) dw[i] += g[i] * ((x[i] - mean) * r);
    if (db) db[i] += g[i];
  }
}

// The chunks' sums, in float64, in order.
template <class C>
void combine(const View& out, const C* partial, int64_t chunks, int64_t width, int64_t stride) {
  C block[kBlock];
  for (int64_t begin = 0; begin < width; begin += kBlock) {
    const int64_t count = std::min(kBlock, width - begin);
    for (int64_t i = 0; i < count; ++i) {
      double sum = 0;
      for (int64_t k = 0; k < chunks; ++k) sum += partial[k * stride + begin + i];
      block[i] = static_cast<C>(sum);
    }
    store_block(out.dtype, block, count, out.data, begin);
  }
}

template <class C>
void backward_as(const Backward& op) {
  const int64_t width = op.width;
  const bool direct = op.x.dtype == kNative<C>;
  const Scratch<C> shared(direct ? 0 : width);
  const C* w = row_of(op.weight, 0, width, shared.data());
  const C* r = op.r.template as<C>();
  const C* mean = op.mean.template as<C>();
  const int64_t chunk = std::max(kMinChunk, (op.rows + kMaxChunks - 1) / kMaxChunks);
  const int64_t chunks = (op.rows + chunk - 1) / chunk;
  const int64_t stride = (op.dweight ? width : 0) + (op.dbias ? width : 0);
  const Scratch<C> partial(chunks * stride);
  const int64_t grain = std::max<int64_t>(1, kGrain / (chunk * width));
  parallel_for(chunks, grain, [&](int64_t first, int64_t last) {
    const Scratch<C> scratch(direct ? 0 : 2 * width);
    C* second = direct ? nullptr : scratch.data() + width;
    for (int64_t k = first; k < last; ++k) {
      C* dw = op.dweight ? partial.data() + k * stride : nullptr;
      C* db = op.dbias ? partial.data() + (k + 1) * stride - width : nullptr;
      std::fill_n(partial.data() + k * stride, stride, C(0));
      for (int64_t row = k * chunk; row < std::min(op.rows, (k + 1) * chunk); ++row) {
        const C* x = row_of(op.x, row, width, scratch.data());
        const C* g = row_of(op.g, row, width, second);
        const C m = mean ? mean[row] : C(0);
        if (stride) add_weight_gradient(x, g, m, r[row], width, dw, db);
        if (!op.dx) continue;
        C* dx = target_row(op.dx, row, width, scratch.data());
        input_gradient_row(x, g, w, m, r[row], mean != nullptr, width, dx);
        if (!direct) store_block(op.dx.dtype, dx, width, op.dx.data, row * width);
      }
    }
  });
  if (op.dweight) combine(op.dweight, partial.data(), chunks, width, stride);
  if (op.dbias) combine(op.dbias, partial.data() + stride - width, chunks, width, stride);
}

inline void forward(const Forward& op) {
  op.x.dtype == DType::f64 ? forward_as<double>(op) : forward_as<float>(op);
}
inline void backward(const Backward& op) {
  op.x.dtype == DType::f64 ? backward_as<double>(op) : backward_as<float>(op);
}

}  // namespace norm
