// Included inside a target's namespace.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"
#include "cpu/image_lines.h"
#include "cpu/soft_skeleton.h"
#include "cpu/soft_skeleton_slopes.h"

namespace cl_dice {

using namespace ::surprisal::cl_dice;

// One scored image, unit by unit.
template <class C>
class Reader {
 public:
  using V = vector_t<C>;
  const Image image;

  Reader(const Problem& op, int64_t k)
      : image{op.planes, op.rows, op.columns, op.volume},
        op_(op),
        sample_(k / op.scored()),
        channel_(op.first_channel + k % op.scored()) {}

  int64_t index() const { return sample_ * op_.channels + channel_; }

  void read_prediction(int64_t u, C* p) const {
    read_unit(image, op_.prediction, index(), u, p);
    if (!op_.logits) return;
    each_vector<C>(image, [&](int64_t at) { store(p + at, sigmoid(load(p + at))); });
  }
  void read_target(int64_t u, C* y) const {
    if (!op_.labels) return read_unit(image, op_.target, index(), u, y);
    read_unit(image, op_.target, sample_, u, y);
    const V own = splat(C(first_class_of(op_.channels) + channel_));
    each_vector<C>(
        image, [&](int64_t at) { store(y + at, select(load(y + at) == own, splat(C(1)), V{})); });
  }
  // Calls body(u, S_y) for units [from, to).
  template <class F>
  void each_skeleton(int64_t from, int64_t to, F body) const {
    if (!op_.skeleton) {
      return sweep_skeleton<C>(
          image, op_.iterations, from, to, [&](int64_t u, C* y) { read_target(u, y); },
          [&](int64_t u, const C* skeleton, const C*) { body(u, skeleton); });
    }
    const Scratch<C> skeleton(image.unit_size());
    for (int64_t u = from; u < to; ++u) {
      read_unit(image, op_.skeleton, index(), u, skeleton.data());
      body(u, skeleton.data());
    }
  }

 private:
  const Problem& op_;
  const int64_t sample_, channel_;
};

// Of n elements the sums of a b, of a and of b. Vectors are folded into float64 before many of them
// are added.
template <class C>
void sum_line(const C* a, const C* b, int64_t n, double* sums) {
  using V = vector_t<C>;
  constexpr int64_t kStep = 64 * kLanes<C>;
  const int64_t whole = n / kLanes<C> * kLanes<C>;
  for (int64_t begin = 0; begin < whole; begin += kStep) {
    V both{}, ours{}, theirs{};
    for (int64_t i = begin; i < std::min(whole, begin + kStep); i += kLanes<C>) {
      both += load(a + i) * load(b + i);
      ours += load(a + i);
      theirs += load(b + i);
    }
    sums[0] += reduce_add(both);
    sums[1] += reduce_add(ours);
    sums[2] += reduce_add(theirs);
  }
  for (int64_t i = whole; i < n; ++i) {
    sums[0] += double(a[i]) * double(b[i]);
    sums[1] += a[i];
    sums[2] += b[i];
  }
}

// kSums of each unit [from, to) of scored image k.
template <class C>
void sum_band(const Forward& op, int64_t k, int64_t from, int64_t to, double* parts) {
  const Reader<C> reader(op, k);
  const Image& image = reader.image;
  const Scratch<C> other(image.unit_size());
  const auto add = [&](int64_t u, int kind, const C* a, const C* b) {
    for (int64_t r = 0; r < image.lines(); ++r)
      sum_line(a + r * image.pitch(), b + r * image.pitch(), image.columns,
               parts + u * kSums + kind);
  };
  sweep_skeleton<C>(
      image, op.iterations, from, to, [&](int64_t u, C* p) { reader.read_prediction(u, p); },
      [&](int64_t u, const C* skeleton, const C* p) {
        reader.read_target(u, other.data());
        add(u, kOfPrediction, skeleton, other.data());
        add(u, kOverlap, p, other.data());
      });
  reader.each_skeleton(from, to, [&](int64_t u, const C* skeleton) {
    reader.read_prediction(u, other.data());
    add(u, kOfTarget, skeleton, other.data());
    if (op.kept) write_unit(image, skeleton, op.kept, reader.index(), u);
  });
}

template <class C>
void sum_as(const Forward& op, double* sums) {
  const int64_t images = op.batch * op.scored();
  const Image image{op.planes, op.rows, op.columns, op.volume};
  const int64_t each = image.units() * kSums;
  const Scratch<double> parts(images * each);
  std::fill_n(parts.data(), images * each, 0.0);
  each_band(image, images, op.iterations + 2, [&](int64_t k, int64_t from, int64_t to) {
    sum_band<C>(op, k, from, to, parts.data() + k * each);
  });
  // In the order of the units, whoever summed them.
  for (int64_t i = 0; i < images * each; ++i) sums[i / each * kSums + i % kSums] += parts[i];
}
void sum(const Forward& op, double* sums) {
  op.prediction.dtype == DType::f64 ? sum_as<double>(op, sums) : sum_as<float>(op, sums);
}

// `by`: kSlopes of the image's unit of loss.
template <class C>
void differentiate_band(const Backward& op, int64_t k, int64_t from, int64_t to,
                        const double* slopes) {
  using V = vector_t<C>;
  const Reader<C> reader(op, k);
  const Image& image = reader.image;
  C by[kSlopes];
  for (int n = 0; n < kSlopes; ++n) by[n] = C(slopes[n]);
  const Scratch<C> y(image.unit_size()), of_y(image.unit_size());
  SlopeSweep<C>(image, op.iterations)
      .run(
          from, to, [&](int64_t u, C* p) { reader.read_prediction(u, p); },
          [&](int64_t u, C* to) {
            reader.read_target(u, to);
            each_vector<C>(
                image, [&](int64_t at) { store(to + at, load(to + at) * by[0] + splat(by[1])); });
          },
          [&](int64_t u, C* g, const C* p) {
            reader.read_target(u, y.data());
            read_unit(image, op.skeleton, reader.index(), u, of_y.data());
            each_vector<C>(image, [&](int64_t at) {
              V sum =
                  load(g + at) + load(&of_y[at]) * by[2] + (load(&y[at]) * by[3] + splat(by[4]));
              if (op.logits) sum *= load(p + at) * (C(1) - load(p + at));
              store(g + at, sum);
            });
            write_unit(image, g, op.grad, reader.index(), u);
          });
}

// `slopes`: kSlopes of each unit of loss.
void differentiate(const Backward& op, const double* slopes) {
  const Image image{op.planes, op.rows, op.columns, op.volume};
  const auto band = [&](int64_t k, int64_t from, int64_t to) {
    const double* const by = slopes + op.unit_of(k) * kSlopes;
    op.prediction.dtype == DType::f64 ? differentiate_band<double>(op, k, from, to, by)
                                      : differentiate_band<float>(op, k, from, to, by);
  };
  each_band(image, op.batch * op.scored(), 2 * (op.iterations + 2), band);
}

}  // namespace cl_dice
