// Bodies build on each other: their order matters. Small matrices take a lane each; of large ones
// the rows are cut into vectors.
#include "cpu/blocks.h"
#include "cpu/matrix_scaling.h"

namespace sinkhorn_knopp {

using namespace ::surprisal::sinkhorn_knopp;

constexpr int64_t kSmall = 256;  // elements of a matrix that takes a lane: K and G fit a cache

// What a matrix needs to be iterated: its largest and smallest x that count, in units of S.
struct Extent {
  double top = 0, range = 0;
  bool finite = true;
};

template <class C>
struct Job {
  const Problem& op;
  const View* upstream;  // absent in forward
  const View& to;

  int64_t size() const { return op.n * op.m; }
  double sum(const View& sums, int64_t matrix, int64_t i, int64_t count) const {
    return value_of(sums, sums.size == count ? i : matrix * count + i);
  }
  double row(int64_t matrix, int64_t i) const {
    return op.rows ? sum(op.rows, matrix, i, op.n) : 1;
  }
  double column(int64_t matrix, int64_t j) const {
    return op.columns ? sum(op.columns, matrix, j, op.m) : double(op.n) / double(op.m);
  }

  Extent extent(const C* x) const {
    const C none = std::numeric_limits<C>::infinity();
    C top = -none, low = none;
    bool finite = true;
    for (int64_t e = 0; e < size(); ++e) {
      finite &= x[e] < none;  // NaN, too
      const bool counts = op.matrix ? x[e] > 0 : x[e] > -none;
      top = counts && x[e] > top ? x[e] : top;
      low = counts && x[e] < low ? x[e] : low;
    }
    if (!finite || top == -none) return {op.matrix ? 1.0 : 0.0, 0, finite};
    if (op.matrix) return {top, std::log(double(top)) - std::log(double(low)), true};
    return {top, (double(top) - double(low)) / op.temperature, true};
  }
  // K from x, the largest being 1 (or what `scale` says).
  vector_t<C> entry(vector_t<C> x, vector_t<C> top, vector_t<C> scale) const {
    return op.matrix ? x * scale : exp_nonpositive((x - top) * scale);
  }
  // What x is multiplied by on the way to S or K; also what gradients by them are multiplied by.
  // The reciprocal of numbers near the smallest is beyond the largest: then K's largest is below 1.
  C scale(const Extent& e) const {
    const double most = std::numeric_limits<C>::max();
    return C(std::min(most, 1 / (op.matrix ? e.top : op.temperature)));
  }
};

template <class C>
void fill_nan(const Job<C>& job, int64_t matrix, C* buffer) {
  std::fill_n(buffer, job.size(), std::numeric_limits<C>::quiet_NaN());
  store_block(job.to.dtype, buffer, job.size(), job.to.data, matrix * job.size());
}

template <class C>
void run_by_logarithms(const Job<C>& job, int64_t matrix, C* x) {
  const Problem& op = job.op;
  LogScaling scaling(op.n, op.m, op.iterations, op.columns_first);
  for (int64_t e = 0; e < job.size(); ++e)
    scaling.s[e] = op.matrix ? std::log(double(x[e])) : double(x[e]) / op.temperature;
  for (int64_t i = 0; i < op.n; ++i) scaling.r[i] = job.row(matrix, i);
  for (int64_t j = 0; j < op.m; ++j) scaling.c[j] = job.column(matrix, j);
  scaling.iterate();
  std::vector<double> g(job.size());
  if (job.upstream) {
    load_block(job.upstream->dtype, job.upstream->data, matrix * job.size(), job.size(), x);
    std::copy_n(x, job.size(), g.data());
    scaling.differentiate(g.data());
    for (int64_t e = 0; e < job.size(); ++e) {
      const bool empty = scaling.s[e] == -INFINITY;
      if (!op.matrix) g[e] = empty ? 0 : g[e] / op.temperature;
      if (op.matrix && !empty) g[e] /= std::exp(scaling.s[e]);
    }
  } else {
    for (int64_t e = 0; e < job.size(); ++e) g[e] = scaling.plan(e / op.m, e % op.m);
  }
  for (int64_t e = 0; e < job.size(); ++e) x[e] = static_cast<C>(g[e]);
  store_block(job.to.dtype, x, job.size(), job.to.data, matrix * job.size());
}

// A matrix by itself; D, the type it is iterated in, may be wider than its own.
template <class D, class C>
void run_alone(const Job<C>& job, int64_t matrix, C* x, const Extent& extent) {
  using V = vector_t<D>;
  const Problem& op = job.op;
  MatrixScaling<D, false> scaling(op.n, op.m, op.iterations, op.columns_first,
                                  job.upstream != nullptr);
  const int64_t width = scaling.width(), padded = width * kLanes<D>;
  const Job<D> wide{op, job.upstream, job.to};
  const V top = splat(D(extent.top)), scale = splat(wide.scale(extent));
  const auto spread = [&](const C* from, D* to) {
    std::fill_n(to, padded, op.matrix ? D{0} : -std::numeric_limits<D>::infinity());
    for (int64_t j = 0; j < op.m; ++j) to[j] = from[j];
  };
  Scratch<D> line(padded);
  D* const c = reinterpret_cast<D*>(scaling.c());
  std::fill_n(c, padded, D{0});
  for (int64_t j = 0; j < op.m; ++j) c[j] = D(job.column(matrix, j));
  for (int64_t i = 0; i < op.n; ++i) {
    scaling.r()[i] = splat(D(job.row(matrix, i)));
    spread(x + i * op.m, line.data());
    for (int64_t j = 0; j < width; ++j)
      scaling.k()[i * width + j] = wide.entry(load(line.data() + j * kLanes<D>), top, scale);
  }
  scaling.iterate();
  Scratch<D> g(job.upstream ? op.n * padded : 0);
  if (job.upstream) {
    load_block(job.upstream->dtype, job.upstream->data, matrix * job.size(), job.size(), x);
    std::fill_n(g.data(), op.n * padded, D{0});
    for (int64_t i = 0; i < op.n; ++i)
      for (int64_t j = 0; j < op.m; ++j) g[i * padded + j] = x[i * op.m + j];
    scaling.differentiate(reinterpret_cast<V*>(g.data()), !op.matrix);
  }
  for (int64_t i = 0; i < op.n; ++i) {
    for (int64_t j = 0; j < width; ++j) {
      const V value =
          job.upstream ? load(g.data() + i * padded + j * kLanes<D>) * scale : scaling.plan(i, j);
      store(line.data() + j * kLanes<D>, value);
    }
    for (int64_t j = 0; j < op.m; ++j) x[i * op.m + j] = static_cast<C>(line[j]);
  }
  store_block(job.to.dtype, x, job.size(), job.to.data, matrix * job.size());
}

template <class C>
void run_widely(const Job<C>& job, int64_t matrix, C* x, const Extent& extent) {
  if (!extent.finite) return fill_nan(job, matrix, x);
  if (extent.range <= kScalingRange<C>) return run_alone<C>(job, matrix, x, extent);
  if (extent.range <= kScalingRange<double>) return run_alone<double>(job, matrix, x, extent);
  run_by_logarithms(job, matrix, x);
}

// Small matrices, kLanes of them at a time.
template <class C>
class LaneRunner {
  using V = vector_t<C>;
  static constexpr int64_t L = kLanes<C>;

 public:
  explicit LaneRunner(const Job<C>& job)
      : job_(job),
        scaling_(job.op.n, job.op.m, job.op.iterations, job.op.columns_first,
                 job.upstream != nullptr),
        x_(job.size()),
        lanes_(job.size() * L) {
    set_sums(0);
  }

  void run(int64_t first, int64_t count) {
    const Problem& op = job_.op;
    const bool own_sums =
        (op.rows && op.rows.size != op.n) || (op.columns && op.columns.size != op.m);
    if (own_sums) set_sums(first);
    Extent extents[L];
    C top[L] = {}, scale[L] = {};
    std::fill_n(lanes_.data(), job_.size() * L, C{0});
    for (int64_t l = 0; l < count; ++l) {
      gather(op.x, first + l, l);
      extents[l] = job_.extent(x_.data());
      fits_[l] = extents[l].finite && extents[l].range <= kScalingRange<C>;
      top[l] = C(extents[l].top);
      scale[l] = job_.scale(extents[l]);
    }
    const V tops = load(top), scales = load(scale);
    for (int64_t e = 0; e < job_.size(); ++e)
      scaling_.k()[e] = job_.entry(load(lanes_.data() + e * L), tops, scales);
    scaling_.iterate();
    if (job_.upstream) {
      for (int64_t l = 0; l < count; ++l) gather(*job_.upstream, first + l, l);
      V* const g = reinterpret_cast<V*>(lanes_.data());
      scaling_.differentiate(g, !op.matrix);
      for (int64_t e = 0; e < job_.size(); ++e) g[e] = g[e] * scales;
    } else {
      for (int64_t e = 0; e < job_.size(); ++e)
        store(lanes_.data() + e * L, scaling_.plan(e / op.m, e % op.m));
    }
    for (int64_t l = 0; l < count; ++l) put(first + l, l, extents[l]);
  }

 private:
  void set_sums(int64_t first) {
    const Problem& op = job_.op;
    for (int64_t l = 0; l < L; ++l) {
      const int64_t matrix = std::min(first + l, op.batch - 1);
      for (int64_t i = 0; i < op.n; ++i)
        reinterpret_cast<C*>(scaling_.r() + i)[l] = C(job_.row(matrix, i));
      for (int64_t j = 0; j < op.m; ++j)
        reinterpret_cast<C*>(scaling_.c() + j)[l] = C(job_.column(matrix, j));
    }
  }
  void gather(const View& from, int64_t matrix, int64_t lane) {
    const C* x = block_of(from, matrix * job_.size(), job_.size(), x_.data());
    if (x != x_.data()) std::copy_n(x, job_.size(), x_.data());
    for (int64_t e = 0; e < job_.size(); ++e) lanes_[e * L + lane] = x_[e];
  }
  void put(int64_t matrix, int64_t lane, const Extent& extent) {
    const Problem& op = job_.op;
    if (!fits_[lane]) {
      load_block(op.x.dtype, op.x.data, matrix * job_.size(), job_.size(), x_.data());
      return run_widely(job_, matrix, x_.data(), extent);
    }
    for (int64_t e = 0; e < job_.size(); ++e) x_[e] = lanes_[e * L + lane];
    store_block(job_.to.dtype, x_.data(), job_.size(), job_.to.data, matrix * job_.size());
  }

  const Job<C>& job_;
  MatrixScaling<C, true> scaling_;
  Scratch<C> x_, lanes_;
  bool fits_[L] = {};
};

template <class C>
void run_as(const Problem& op, const View* upstream, const View& to) {
  const Job<C> job{op, upstream, to};
  if (op.x.size == 0) return;
  if (job.size() > kSmall) {
    parallel_for(op.batch, 1, [&](int64_t begin, int64_t end) {
      Scratch<C> x(job.size());
      for (int64_t b = begin; b < end; ++b) {
        load_block(op.x.dtype, op.x.data, b * job.size(), job.size(), x.data());
        run_widely(job, b, x.data(), job.extent(x.data()));
      }
    });
    return;
  }
  constexpr int64_t L = kLanes<C>;
  parallel_for((op.batch + L - 1) / L, std::max<int64_t>(1, 128 / job.size()),
               [&](int64_t begin, int64_t end) {
                 LaneRunner<C> runner(job);
                 for (int64_t group = begin; group < end; ++group)
                   runner.run(group * L, std::min(L, op.batch - group * L));
               });
}

void run(const Problem& op, const View* upstream, const View& to) {
  op.x.dtype == DType::f64 ? run_as<double>(op, upstream, to) : run_as<float>(op, upstream, to);
}

}  // namespace sinkhorn_knopp
