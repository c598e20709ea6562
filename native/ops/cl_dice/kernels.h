// Included inside a target's namespace.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"
#include "cpu/image_lines.h"
#include "cpu/soft_skeleton.h"

namespace cl_dice {

using namespace ::surprisal::cl_dice;

// One scored image: its levels are read into memory of the caller.
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

  void read_prediction(C* p) const {
    read_image(image, op_.prediction, index(), p);
    if (!op_.logits) return;
    each_vector([&](int64_t at) { store(p + at, sigmoid(load(p + at))); });
  }
  void read_target(C* y) const {
    if (!op_.labels) return read_image(image, op_.target, index(), y);
    read_image(image, op_.target, sample_, y);
    const V own = splat(C(channel_));
    each_vector([&](int64_t at) { store(y + at, select(load(y + at) == own, splat(C(1)), V{})); });
  }
  // S_y; `spare` holds two levels.
  void read_skeleton(const C* y, C* spare, C* skeleton) const {
    if (op_.skeleton) return read_image(image, op_.skeleton, index(), skeleton);
    soft_skeleton_of(image, op_.iterations, y, spare, skeleton);
  }
  template <class F>
  void each_vector(F body) const {
    image.each_line([&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r)
        for (int64_t i = 0; i < image.columns; i += kLanes<C>) body(r * image.pitch() + i);
    });
  }

 private:
  const Problem& op_;
  const int64_t sample_, channel_;
};

// S_p y, S_p, S_y p, S_y, p y, p and y over an image.
constexpr int kSums = 7;

template <class C>
struct Levels {
  C *p, *y, *of_p, *of_y;
};

// The sums of line r. Vectors are folded into float64 before many of them are added.
template <class C>
void sum_line(const Image& image, const Levels<C>& at, int64_t r, double* sums) {
  using V = vector_t<C>;
  constexpr int64_t kStep = 64 * kLanes<C>;
  const int64_t from = r * image.pitch(), to = from + image.columns;
  for (C* const level : {at.p, at.y, at.of_p, at.of_y}) {
    const int64_t whole = (image.columns + kLanes<C> - 1) / kLanes<C> * kLanes<C>;
    std::fill(level + to, level + from + whole, C(0));
  }
  std::fill_n(sums, kSums, 0.0);
  for (int64_t begin = from; begin < to; begin += kStep) {
    V total[kSums] = {};
    for (int64_t i = begin; i < std::min(to, begin + kStep); i += kLanes<C>) {
      const V p = load(at.p + i), y = load(at.y + i);
      const V of_p = load(at.of_p + i), of_y = load(at.of_y + i);
      total[0] += of_p * y;
      total[1] += of_p;
      total[2] += of_y * p;
      total[3] += of_y;
      total[4] += p * y;
      total[5] += p;
      total[6] += y;
    }
    for (int n = 0; n < kSums; ++n) sums[n] += reduce_add(total[n]);
  }
}

template <class C>
void sum_as(const Problem& op, double* sums) {
  each_image(op.batch * op.scored(), [&](int64_t k) {
    const Reader<C> reader(op, k);
    const Image& image = reader.image;
    const Scratch<C> room(image.size() * 6);
    C* const level = room.data();
    const Levels<C> at{level, level + image.size(), level + 2 * image.size(),
                       level + 3 * image.size()};
    C* const spare = level + 4 * image.size();
    reader.read_prediction(at.p);
    reader.read_target(at.y);
    soft_skeleton_of(image, op.iterations, at.p, spare, at.of_p);
    reader.read_skeleton(at.y, spare, at.of_y);
    const Scratch<double> parts(image.lines() * kSums);
    image.each_line([&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) sum_line(image, at, r, &parts[r * kSums]);
    });
    // In the order of the lines, whoever summed them.
    std::fill_n(sums + k * kSums, kSums, 0.0);
    for (int64_t i = 0; i < image.lines() * kSums; ++i) sums[k * kSums + i % kSums] += parts[i];
  });
}
void sum(const Problem& op, double* sums) {
  op.prediction.dtype == DType::f64 ? sum_as<double>(op, sums) : sum_as<float>(op, sums);
}

// `slopes`: kSlopes of each unit.
template <class C>
void differentiate_as(const Backward& op, const double* slopes) {
  using V = vector_t<C>;
  each_image(op.batch * op.scored(), [&](int64_t k) {
    const Reader<C> reader(op, k);
    const Image& image = reader.image;
    const Scratch<C> room(image.size() * 4);
    C* const y = room.data();
    C* const of_y = y + image.size();
    C* const upstream = of_y + image.size();  // and the second of two spare levels
    SkeletonGradient<C> gradient(image, op.iterations);
    reader.read_prediction(gradient.image());
    reader.read_target(y);
    reader.read_skeleton(y, upstream, of_y);
    C by[kSlopes];
    for (int n = 0; n < kSlopes; ++n) by[n] = C(slopes[op.unit_of(k) * kSlopes + n]);
    reader.each_vector(
        [&](int64_t at) { store(upstream + at, load(y + at) * by[0] + splat(by[1])); });
    C* const g = gradient.run(upstream);
    const C* const p = gradient.image();
    reader.each_vector([&](int64_t at) {
      V sum = load(g + at) + load(of_y + at) * by[2] + (load(y + at) * by[3] + splat(by[4]));
      if (op.logits) sum *= load(p + at) * (C(1) - load(p + at));
      store(g + at, sum);
    });
    write_image(image, g, op.grad, reader.index());
  });
}
void differentiate(const Backward& op, const double* slopes) {
  op.prediction.dtype == DType::f64 ? differentiate_as<double>(op, slopes)
                                    : differentiate_as<float>(op, slopes);
}

}  // namespace cl_dice
