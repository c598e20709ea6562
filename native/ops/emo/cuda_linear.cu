// The earth mover loss without logits on CUDA; formulas in op.h and row.h. Chunks of rows by strips
// of 2048 classes: z and the cosines to the labels are two products into scratch memory, never more
// of them at a time than the workspace holds.
//   sums       over a row's strips, in order; then its loss and slopes
//   gradients  z and cosines again, dz of a strip; dx adds up over strips, dW over chunks of rows
// Products of 2 N V D flop: two for the loss, two again and one each for dx and dW; where 16-bit dx
// of all rows does not fit beside a strip of dW, four again. 16-bit dz, which tensor cores
// multiply, is rounded, after a power of two has brought it to the middle of its range. Rows that
// do not count are zeros, whatever x holds there.
#include <cmath>
#include <string>

#include "cuda/launch.h"
#include "ops/emo/check.h"
#include "ops/emo/device.h"
#include "ops/emo/device_linear.h"
#include "ops/emo/linear_plan.h"

namespace surprisal::emo {
namespace {

constexpr int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

LinearPlan plan_of(const Linear& op, bool dx, bool dweight) {
  LinearShape s;
  s.rows = op.rows;
  s.classes = op.classes;
  s.width = op.width;
  s.element = size_of(op.x.dtype);
  s.dx = dx;
  s.dweight = dweight;
  s.budget = op.workspace_bytes;
  return plan_linear_device(s);
}
void expect_room(const Linear& op, int64_t least) {
  if (least <= op.workspace_bytes) return;
  throw Error(Code::invalid_value,
              "linearEmo: expected workspaceBytes to be >= " + std::to_string(least) +
                  " for these shapes, got " + std::to_string(op.workspace_bytes));
}

template <class T>
class LinearRun {
  using A = accumulator_t<T>;
  static constexpr bool kHalf = !std::is_same_v<T, A>;

 public:
  LinearRun(const Linear& op, const RowContext& about, Stream& stream)
      : op_(op),
        stream_(stream),
        plan_(plan_of(op, bool(op.grad_x), bool(op.grad_weight))),
        embedding_(op.embedding ? op.embedding : op.weight) {
    const bool gradient = op.grad_x || op.grad_weight;
    label_ = stream.scratch<int32_t>(op.rows);
    auto* const scale = stream.scratch<double>(op.rows);
    launch(stream, emo_linear_weights_kernel, over(op.rows), about, op.rows, gradient, label_,
           scale);
    scale_ = scale;
    states_ = stream.scratch<LinearState<A>>(op.rows);
    slopes_ = stream.scratch<LinearSlopes<A>>(op.rows);
    inverse_ = static_cast<const A*>(inverse_norms(embedding_, op.classes, op.width, stream));
    const int64_t cells = plan_.rows * plan_.stride;
    z_ = stream.scratch<A>(cells);
    cosines_ = stream.scratch<A>(cells);
    if constexpr (kHalf) {
      if (gradient) dz_ = stream.scratch<T>(cells);
      unit_ = stream.scratch<float>(1);
    } else {
      dz_ = z_;
    }
    x_ = stream.scratch<T>(plan_.rows * op.width);
    own_ = {stream.scratch<T>(plan_.rows * op.width), stream.scratch<A>(plan_.rows)};
  }

  void find_sums(double* row_loss) {
    each_chunk(0, op_.rows, [&](int64_t first, int64_t count) {
      each_strip([&](int64_t from) {
        const auto strip = make(first, count, from);
        launch(stream_, emo_linear_sums_kernel<A>, warps(count), strip, states_ + first);
      });
    });
    launch(stream_, emo_linear_finish_kernel<A>, over(op_.rows),
           static_cast<const LinearState<A>*>(states_), static_cast<const int32_t*>(label_), scale_,
           op_.rows, rules_of(op_), slopes_, row_loss);
  }

  void differentiate() {
    if constexpr (kHalf)
      launch(stream_, emo_linear_unit_kernel,
             {1, kLinearThreads, kBlockWarps * int64_t{sizeof(float)}},
             static_cast<const LinearSlopes<float>*>(slopes_), op_.rows, unit_);
    const bool dx = bool(op_.grad_x), dweight = bool(op_.grad_weight);
    if constexpr (kHalf) {
      const int64_t of_x = dx ? plan_.wave * op_.width : 0;
      const int64_t of_weight = dweight ? plan_.strip * op_.width : 0;
      dx_ = stream_.scratch<A>(plan_.together ? of_x + of_weight : std::max(of_x, of_weight));
      dweight_ = plan_.together ? dx_ + of_x : dx_;
    }
    if (dweight) pass(0, op_.rows, dx && plan_.together, true);
    if (!dx || (dweight && plan_.together)) return;
    for (int64_t first = 0; first < op_.rows; first += plan_.wave)
      pass(first, std::min(plan_.wave, op_.rows - first), true, false);
  }

 private:
  static Shape over(int64_t items) { return {ceil_div(items, kLinearThreads), kLinearThreads}; }
  static Shape warps(int64_t rows) { return {ceil_div(rows, kLinearWarps), kLinearThreads}; }

  template <class F>
  void each_chunk(int64_t begin, int64_t rows, F&& f) {
    for (int64_t first = begin; first < begin + rows; first += plan_.rows)
      f(first, std::min(plan_.rows, begin + rows - first));
  }
  template <class F>
  void each_strip(F&& f) {
    for (int64_t from = 0; from < op_.classes; from += plan_.strip) f(from);
  }

  // x and the labels' rows of the embedding.
  void take(int64_t first, int64_t count) {
    if (taken_ == first) return;
    taken_ = first;
    const int32_t* const label = label_ + first;
    launch(stream_, emo_linear_rows_kernel<T>, {count, kLinearThreads},
           op_.x.as<T>() + first * op_.width, op_.width, label, x_);
    gather_labels(embedding_, op_.width, inverse_, label, count, own_, stream_);
  }
  // z and the cosines of some rows and classes.
  LinearStrip<A> make(int64_t first, int64_t count, int64_t from) {
    take(first, count);
    const int64_t classes = std::min(plan_.strip, op_.classes - from);
    Product p{op_.x.dtype, x_, op_.weight.as<T>() + from * op_.width, count, classes, op_.width};
    p.out = z_;
    p.stride = plan_.stride;
    multiply(p, stream_);
    p.a = own_.rows;
    p.b = embedding_.template as<T>() + from * op_.width;
    p.row_scale = own_.scale;
    p.column_scale = inverse_ + from;
    p.out = cosines_;
    multiply(p, stream_);
    return {z_, cosines_, label_ + first, count, plan_.stride, from, classes};
  }

  void pass(int64_t begin, int64_t rows, bool dx, bool dweight) {
    A* const to_x = !dx ? nullptr : kHalf ? dx_ : at<A>(op_.grad_x, begin);
    each_strip([&](int64_t from) {
      A* const to_weight = !dweight ? nullptr : kHalf ? dweight_ : at<A>(op_.grad_weight, from);
      each_chunk(begin, rows, [&](int64_t first, int64_t count) {
        const LinearStrip<A> strip = make(first, count, from);
        launch(stream_, emo_linear_slopes_kernel<T>, warps(count), strip,
               static_cast<const LinearSlopes<A>*>(slopes_ + first),
               static_cast<const float*>(unit_), dz_);
        CarriedProduct p{op_.x.dtype, dz_, op_.weight.as<T>() + from * op_.width, count, op_.width};
        p.k = strip.classes;
        p.a_stride = plan_.stride;
        p.out = dx ? to_x + (first - begin) * op_.width : nullptr;
        p.begins = from == 0;
        if (dx) carry(p, stream_);
        p.b = x_;
        p.m = strip.classes;
        p.k = count;
        p.a_by_k = false;
        p.out = to_weight;
        p.begins = first == begin;
        if (dweight) carry(p, stream_);
      });
      if (dweight)
        write(to_weight, std::min(plan_.strip, op_.classes - from), op_.grad_weight, from);
    });
    if (!dx) return;
    write(to_x, rows, op_.grad_x, begin);
    launch(stream_, emo_linear_clear_kernel<T>, {rows, kLinearThreads},
           static_cast<const int32_t*>(label_ + begin), op_.width, at<T>(op_.grad_x, begin));
  }
  template <class U>
  U* at(const View& view, int64_t row) const {
    return static_cast<U*>(view.data) + row * op_.width;
  }
  void write(const A* sums, int64_t rows, const View& to, int64_t row) {
    if constexpr (kHalf)
      launch(stream_, emo_linear_write_kernel<T>, over(rows * op_.width), sums, rows * op_.width,
             static_cast<const float*>(unit_), at<T>(to, row));
  }

  const Linear& op_;
  Stream& stream_;
  const LinearPlan plan_;
  const View embedding_;
  int32_t* label_ = nullptr;
  const double* scale_ = nullptr;
  LinearState<A>* states_ = nullptr;
  LinearSlopes<A>* slopes_ = nullptr;
  const A* inverse_ = nullptr;
  A *z_ = nullptr, *cosines_ = nullptr, *dx_ = nullptr, *dweight_ = nullptr;
  T *dz_ = nullptr, *x_ = nullptr;
  float* unit_ = nullptr;
  LabelRows own_{};
  int64_t taken_ = -1;
};

void run(const Linear& op, const RowContext& about, double* row_loss, Stream& stream) {
  if (op.rows == 0) {
    if (op.grad_weight)
      stream.fill_bytes(op.grad_weight.data, 0,
                        op.grad_weight.size * size_of(op.grad_weight.dtype));
    return;
  }
  visit_float(op.x.dtype, [&](auto tag) {
    LinearRun<typename decltype(tag)::type> work(op, about, stream);
    work.find_sums(row_loss);
    if (op.grad_x || op.grad_weight) work.differentiate();
  });
}

}  // namespace

void linear_forward_cuda(const LinearForward& op, Stream& stream) {
  check(op);
  const int64_t now = plan_of(op, bool(op.grad_x), bool(op.grad_weight)).least;
  expect_room(op, std::max(now, plan_of(op, op.later_x, op.later_weight).least));
  RowContext about = context_of(op, raise_target<true>, raise_nan_weight<true>, stream);
  if ((op.grad_x || op.grad_weight) && about.weights.divides())
    about.totals = token_totals(about.weights, false, {}, stream);
  run(op, about, op.row_loss.as<double>(), stream);
  if (about.weights.reduction != Reduction::none) {
    token_totals(about.weights, true, op.loss, stream);
  } else if (op.rows > 0) {
    token_losses(about.weights, op.loss, stream);
  }
}

void linear_backward_cuda(const LinearBackward& op, Stream& stream) {
  check(op);
  expect_room(op, plan_of(op, bool(op.grad_x), bool(op.grad_weight)).least);
  RowContext about = context_of(op, raise_target<true>, raise_nan_weight<true>, stream);
  const bool of_weights = bool(op.grad_token_weight);
  about.upstream = op.upstream;
  about.totals = token_totals(about.weights, of_weights, {}, stream);
  if (of_weights && op.rows > 0)
    token_gradient(about.weights, about.totals, op.upstream, op.grad_token_weight, stream);
  if (op.grad_x || op.grad_weight) run(op, about, nullptr, stream);
}

}  // namespace surprisal::emo
