// Ranks of probabilities over different vocabularies on CUDA; formulas in op.h, steps as in
// ranks.h. Floor: a read of both rows and a write of the gradient. A block has a row, which stays
// in L2 while it is gone through six times by elements (largest, sum, bins, list, signs, gradient),
// with an exponential each; what is listed is sorted by 8 bits at a time, 12 bytes an element read
// and written each. Rows that differ list little; where all is listed, four such turns (eight for
// float64) are most of the time.
#include <string>

#include "cuda/launch.h"
#include "cuda/token_mean.h"
#include "ops/uld/check.h"
#include "ops/uld/device_ranks.h"

namespace surprisal::uld {
namespace {

struct RanksWork {
  const void *student, *teacher;
  void* grad;  // like student, may be absent
  int64_t rows;
  int student_classes, teacher_classes;
  double inverse;  // 1/T
  TokenRows weights;
  const TokenTotals* totals;  // of the weights; null: they are not needed
  Numbers upstream;           // absent: 1
  double* row_loss;           // may be absent
  Plan plan;
  unsigned char* scratch;  // (blocks, bytes)
};

// A row's probabilities, made from its logits wherever they are needed, always the same bits.
template <class T>
struct Distribution {
  using Real = accumulator_t<T>;
  const T* z;
  int count;
  Real by, top, share;
  bool finite;

  // Of a row; `least` and `most` take in what is not 0.
  __device__ Distribution(const T* logits, int classes, double inverse, Real* least, Real* most)
      : z(logits), count(classes), by(static_cast<Real>(inverse)), share(0), finite(false) {
    constexpr Real kInfinity = std::numeric_limits<Real>::infinity();
    Real largest = -kInfinity;
    for (int v = thread_index(); v < count; v += block_size()) {
      const Real x = widened(load(z + v));
      largest = x > largest || x != x ? x : largest;
    }
    double* const memory = shared<RankMemory>().gathered;
    top = static_cast<Real>(max_over_block<double>(largest, memory));
    if (!(std::fabs(top) < kInfinity)) return;
    Real sum = 0, low = kInfinity;
    for (int v = thread_index(); v < count; v += block_size()) {
      const Real e = power(v);
      sum += e;
      if (e > 0 && e < low) low = e;
    }
    const double total = sum_over_block<double>(sum, memory);
    low = static_cast<Real>(-max_over_block<double>(-low, memory));
    if (!(total > 0)) return;  // NaN
    finite = true;
    share = static_cast<Real>(1 / total);
    if (low < kInfinity) {
      // What underflowed may have neighbours that did not.
      const Real x = low * share, tiny = std::numeric_limits<Real>::denorm_min();
      const Real bound = x > tiny ? x : tiny;
      if (bound < *least) *least = bound;
    }
    if (share > *most) *most = share;
  }
  // exp() may be off by some ulp, and bins end at 1.
  __device__ Real power(int v) const {
    const Real x = std::exp((widened(load(z + v)) - top) * by);
    return x > 1 ? Real(1) : x;
  }
  __device__ Real operator[](int v) const { return power(v) * share; }
};

template <class T>
class RowRanks {
  using Real = accumulator_t<T>;
  using Key = Bits<Real>;
  using Row = Distribution<T>;

 public:
  __device__ RowRanks(const RanksWork& work) : work_(work) {
    unsigned char* at = work.scratch + block_index() * work.plan.bytes;
    const auto take = [&](auto*& to, int64_t count) {
      to = reinterpret_cast<std::decay_t<decltype(to)>>(at);
      at += aligned(count * int64_t(sizeof *to));
    };
    p_.room = work.student_classes;
    q_.room = work.teacher_classes;
    take(p_.keys, 2 * p_.room);
    take(q_.keys, 2 * q_.room);
    take(p_.places, 2 * p_.room);
    q_.places = nullptr;
    take(sign_, work.student_classes);
  }

  __device__ void run(int64_t n) {
    const double scale = work_.weights.scale(n, work_.totals, work_.upstream, work_.grad);
    double loss = 0;
    if (scale == 0) {
      write_gradient(n, [](int) { return Real(0); });
    } else {
      loss = match(n, scale);
    }
    if (work_.row_loss && thread_index() == 0) store(work_.row_loss + n, loss);
  }

 private:
  __device__ double match(int64_t n, double scale) {
    constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
    Real least = std::numeric_limits<Real>::infinity(), most = 0;
    const Row p(static_cast<const T*>(work_.student) + n * work_.student_classes,
                work_.student_classes, work_.inverse, &least, &most);
    const Row q(static_cast<const T*>(work_.teacher) + n * work_.teacher_classes,
                work_.teacher_classes, work_.inverse, &least, &most);
    if (!p.finite || !q.finite) {
      write_gradient(n, [](int) { return static_cast<Real>(kNaN); });
      return kNaN;
    }
    const Bins<Real> bins(least, most, work_.plan.bins);
    RankMemory& memory = shared<RankMemory>();
    for (int b = thread_index(); b <= bins.used; b += block_size()) {
      store(&memory.student[b], 0u);
      store(&memory.teacher[b], 0u);
    }
    sync_threads();  // before counting
    count(p, bins, memory.student);
    count(q, bins, memory.teacher);
    sync_threads();  // counts are complete
    bins.judge(&p_.count, &q_.count);
    int turn = 0;
    if (p_.count + q_.count > 0) {
      list(p, bins, p_);
      list(q, bins, q_);
      sync_threads();  // lists are there
      const Key range = bins.top - bins.base;
      for (int shift = 0; shift < 8 * int(sizeof(Key)) && range >> shift != 0; shift += 8) {
        p_.sort_digit(turn, shift);
        q_.sort_digit(turn, shift);
        turn ^= 1;
      }
      note_signs(bins, turn);
      sync_threads();  // signs are there
    }
    double mean = 0;
    for (int v = thread_index(); v < p.count; v += block_size()) {
      const Real x = p[v];
      mean += static_cast<double>(x * static_cast<Real>(sign_of(bins.of(x), v)));
    }
    mean = sum_over_block(mean, memory.gathered);
    const double loss = mean - sum_over_block(teacher_part(q, bins, turn), memory.gathered);
    const Real average = static_cast<Real>(mean), by = static_cast<Real>(scale * work_.inverse);
    write_gradient(n, [&](int v) {
      const Real x = p[v];
      return (x * static_cast<Real>(sign_of(bins.of(x), v)) - x * average) * by;
    });
    sync_threads();  // bins and signs are the next row's
    return loss;
  }

  __device__ static void count(const Row& row, const Bins<Real>& bins, uint32_t* counts) {
    for (int v = thread_index(); v < row.count; v += block_size())
      if (const int b = bins.of(row[v])) atomic_add(counts + b, 1u);
  }

  // 0 for bins that are sorted within.
  __device__ static int sign_of_bin(int b) {
    return static_cast<int>(load(&shared<RankMemory>().teacher[b]));
  }
  __device__ int sign_of(int b, int v) const {
    if (b == 0) return 0;
    const int s = sign_of_bin(b);
    return s == 0 ? load(sign_ + v) : s;
  }
  __device__ static int apart(int b) {
    return static_cast<int>(load(&shared<RankMemory>().student[b]));
  }

  // In the row's order.
  __device__ static void list(const Row& row, const Bins<Real>& bins, const List<Key>& to) {
    const auto is_open = [&](Real x) { return x > 0 && sign_of_bin(bins.of(x)) == 0; };
    const Stretch mine(row.count);
    uint64_t own = 0;
    for (int v = mine.begin + lane_index(); v < mine.end; v += kWarp) own += is_open(row[v]);
    own = warp_sum(own);
    uint64_t at = scan_block(lane_index() == 0 ? own : 0).before;
    at = shuffle(at, 0);
    for (int tile = mine.begin; tile < mine.end; tile += kWarp) {
      const int v = tile + lane_index();
      const Real x = v < mine.end ? row[v] : Real(0);
      const bool open = is_open(x);
      const uint32_t mask = ballot(open);
      if (open) {
        const uint64_t place = at + count_of_lanes(mask & ((1u << lane_index()) - 1));
        store(to.keys + place, bins.key(x));
        if (to.places) store(to.places + place, v);
      }
      at += count_of_lanes(mask);
    }
  }

  // Of an element beside the other row's of its rank; keys fall as values rise.
  __device__ static int compare(Key own, int other, const List<Key>& list, int turn) {
    if (other < 0) return -1;
    if (other >= list.count) return 1;
    const Key its = load(list.key(turn) + other);
    return own < its ? 1 : own > its ? -1 : 0;
  }
  __device__ void note_signs(const Bins<Real>& bins, int turn) {
    for (int i = thread_index(); i < p_.count; i += block_size()) {
      const Key key = load(p_.key(turn) + i);
      const int other = i + apart(bins.of(bins.value(key)));
      store(sign_ + load(p_.place(turn) + i), static_cast<int8_t>(compare(key, other, q_, turn)));
    }
  }
  // Sum of the signs times q, the sign being that of p - q.
  __device__ double teacher_part(const Row& q, const Bins<Real>& bins, int turn) const {
    double sum = 0;
    for (int v = thread_index(); v < q.count; v += block_size()) {
      const Real x = q[v];
      if (x > 0) sum += static_cast<double>(x * static_cast<Real>(sign_of_bin(bins.of(x))));
    }
    for (int i = thread_index(); i < q_.count; i += block_size()) {
      const Key key = load(q_.key(turn) + i);
      const Real x = bins.value(key);
      sum -=
          static_cast<double>(x * static_cast<Real>(compare(key, i - apart(bins.of(x)), p_, turn)));
    }
    return sum;
  }

  template <class F>
  __device__ void write_gradient(int64_t n, F&& slope) const {
    if (!work_.grad) return;
    T* const to = static_cast<T*>(work_.grad) + n * work_.student_classes;
    for (int v = thread_index(); v < work_.student_classes; v += block_size())
      store(to + v, narrowed<T>(slope(v)));
  }

  const RanksWork& work_;
  List<Key> p_, q_;
  int8_t* sign_;
};

template <class T>
__global__ void __launch_bounds__(kMostThreads, 1)
    uld_ranks_kernel(const __grid_constant__ RanksWork work) {
  RowRanks<T> row(work);
  for (int64_t n = block_index(); n < work.rows; n += grid_size()) row.run(n);
}

// --- launches ------------------------------------------------------------------------------------

void raise_nan_weight(const Fault& fault) {
  throw Error(Code::invalid_value, "uldLoss: expected tokenWeight to hold no NaN, got NaN at row " +
                                       std::to_string(fault.row));
}

RanksWork work_of(const Problem& op, const View& row_loss, const View& grad, Stream& stream) {
  require(op.student_classes <= INT32_MAX && op.teacher_classes <= INT32_MAX,
          "uldLoss: rows of more than 2^31 classes");
  RanksWork work{};
  work.student = op.student.data;
  work.teacher = op.teacher.data;
  work.grad = grad.data;
  work.rows = op.rows;
  work.student_classes = static_cast<int>(op.student_classes);
  work.teacher_classes = static_cast<int>(op.teacher_classes);
  work.inverse = 1 / op.temperature;
  auto* const loss = row_loss.as<double>();
  work.weights = {op.token_weight,
                  nullptr,
                  loss,
                  1,
                  op.rows,
                  static_cast<Reduction>(op.reduction),
                  stream.fault_site(raise_nan_weight)};
  work.row_loss = loss;
  return work;
}

void run(RanksWork work, DType dtype, Stream& stream) {
  if (work.rows == 0) return;
  work.plan = plan({work.rows, work.student_classes, work.teacher_classes,
                    dtype == DType::f64 ? 8 : 4, stream.properties().processors});
  work.scratch = stream.scratch<unsigned char>(work.plan.blocks * work.plan.bytes);
  visit_float(dtype, [&](auto tag) {
    using T = typename decltype(tag)::type;
    launch(stream, uld_ranks_kernel<T>,
           {work.plan.blocks, work.plan.threads, int64_t(sizeof(RankMemory))}, work);
  });
}

}  // namespace

void forward_cuda(const Forward& op, Stream& stream) {
  check(op, op.row_loss, op.grad_student);
  RanksWork work = work_of(op, op.row_loss, op.grad_student, stream);
  if (op.grad_student && work.weights.divides())
    work.totals = token_totals(work.weights, false, {}, stream);
  run(work, op.student.dtype, stream);
  if (work.weights.reduction != Reduction::none) {
    token_totals(work.weights, true, op.loss, stream);
  } else if (op.rows > 0) {
    token_losses(work.weights, op.loss, stream);
  }
}

void backward_cuda(const Backward& op, Stream& stream) {
  check(op, op.row_loss, op.grad_student);
  if (op.rows == 0) return;
  RanksWork work = work_of(op, op.row_loss, op.grad_student, stream);
  const bool of_weights = bool(op.grad_token_weight);
  work.upstream = op.upstream;
  work.totals = token_totals(work.weights, of_weights, {}, stream);
  if (of_weights)
    token_gradient(work.weights, work.totals, op.upstream, op.grad_token_weight, stream);
  if (!op.grad_student) return;
  work.row_loss = nullptr;
  run(work, op.student.dtype, stream);
}

}  // namespace surprisal::uld
