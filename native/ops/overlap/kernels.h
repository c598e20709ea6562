// Tiles of voxels with all their channels: probabilities and targets as numbers, then sums, or the
// gradient. Included inside a target's namespace.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace overlap {

using namespace ::surprisal::overlap;

// Voxels of a tile: a multiple of every vector, few enough that some channels stay in the cache.
constexpr int64_t kTile = 256;

template <class C>
class Tile {
 public:
  using V = vector_t<C>;

  explicit Tile(const Problem& op)
      : op_(op), p_(op.channels * kTile), t_(op.channels * kTile), weight_(kTile) {}

  // Voxels [from, from + count) of an image; zeros beyond, of weight 0.
  void read(int64_t image, int64_t from, int64_t count) {
    count_ = count;
    read_weights(image * op_.voxels + from);
    for (int64_t c = 0; c < op_.channels; ++c) {
      const int64_t at = (image * op_.channels + c) * op_.voxels + from;
      read_row(op_.image, at, p(c));
      if (!op_.labels) read_row(op_.target, at, t(c));
    }
    if (op_.labels) read_labels(image * op_.voxels + from);
    activate();
  }

  // I, P and T of channel c over the tile.
  void add_sums(int64_t c, double* sums) const {
    V both{}, ours{}, theirs{};
    for (int64_t i = 0; i < kTile; i += kLanes<C>) {
      const V x = load(p(c) + i), y = load(t(c) + i), w = load(&weight_[i]);
      // A voxel of weight 0 adds nothing, whatever it holds.
      both += counted(w, w * x * y);
      ours += counted(w, op_.squared ? w * x * x : w * x);
      theirs += counted(w, op_.squared ? w * y * y : w * y);
    }
    sums[0] += reduce_add(both);
    sums[1] += reduce_add(ours);
    sums[2] += reduce_add(theirs);
  }

  // The gradient of the tile into t, from the slopes (C, 2) by I and P.
  void differentiate(const double* slopes) {
    for (int64_t i = 0; i < kTile; i += kLanes<C>) {
      const V w = load(&weight_[i]);
      V along{};
      for (int64_t c = 0; c < op_.channels; ++c) {
        const V x = load(p(c) + i);
        const V by_overlap = load(t(c) + i) * static_cast<C>(slopes[2 * c]);
        const C by_size = static_cast<C>(slopes[2 * c + 1]);
        V g = counted(w, w * (by_overlap + (op_.squared ? x * (2 * by_size) : splat(by_size))));
        if (op_.activation() == Activation::sigmoid) g = counted(w, g * x * (C(1) - x));
        along += counted(w, x * g);
        store(t(c) + i, g);
      }
      if (op_.activation() != Activation::softmax) continue;
      for (int64_t c = 0; c < op_.channels; ++c)
        store(t(c) + i, counted(w, load(p(c) + i) * (load(t(c) + i) - along)));
    }
  }
  const C* gradient(int64_t c) const { return t(c); }

 private:
  static V counted(V w, V x) { return select(w == V{}, V{}, x); }
  C* p(int64_t c) const { return p_.data() + c * kTile; }
  C* t(int64_t c) const { return t_.data() + c * kTile; }

  void read_row(const View& view, int64_t at, C* to) const {
    load_block(view.dtype, view.data, at, count_, to);
    std::fill(to + count_, to + kTile, C(0));
  }
  void read_weights(int64_t at) const {
    if (op_.weight) return read_row(op_.weight, at, weight_.data());
    std::fill_n(weight_.data(), count_, C(1));
    std::fill(weight_.data() + count_, weight_.data() + kTile, C(0));
  }
  void read_labels(int64_t at) const {
    const int64_t first = first_class_of(op_.channels);
    std::fill_n(t_.data(), op_.channels * kTile, C(0));
    for (int64_t i = 0; i < count_; ++i) {
      const int64_t y = label_at(op_.target, at + i);
      if (y == op_.ignore) {
        weight_[i] = 0;
      } else if (y >= first) {
        t(y - first)[i] = 1;
      }
    }
  }

  void activate() const {
    if (op_.activation() == Activation::none) return;
    for (int64_t i = 0; i < kTile; i += kLanes<C>)
      op_.activation() == Activation::sigmoid ? sigmoids(i) : softmaxes(i);
  }
  void sigmoids(int64_t i) const {
    for (int64_t c = 0; c < op_.channels; ++c) {
      const V e = exp(-abs(load(p(c) + i))), over = C(1) / (C(1) + e);
      store(p(c) + i, select(load(p(c) + i) < V{}, e * over, over));
    }
  }
  void softmaxes(int64_t i) const {
    V top = load(p(0) + i), sum{};
    for (int64_t c = 1; c < op_.channels; ++c) top = max(load(p(c) + i), top);
    for (int64_t c = 0; c < op_.channels; ++c) {
      const V e = exp(load(p(c) + i) - top);
      store(p(c) + i, e);
      sum += e;
    }
    for (int64_t c = 0; c < op_.channels; ++c) store(p(c) + i, load(p(c) + i) / sum);
  }

  const Problem& op_;
  int64_t count_ = 0;
  Scratch<C> p_, t_, weight_;
};

// Calls body(tile, image, first voxel, number of the tile) for every tile, by any thread.
template <class C, class F>
void each_tile(const Problem& op, F body) {
  const int64_t tiles = (op.voxels + kTile - 1) / kTile;
  const int64_t grain = std::max<int64_t>(1, 16384 / (kTile * op.channels));
  parallel_for(op.batch * tiles, grain, [&](int64_t begin, int64_t end) {
    Tile<C> tile(op);
    for (int64_t k = begin; k < end; ++k) {
      const int64_t image = k / tiles, from = k % tiles * kTile;
      const int64_t count = std::min(kTile, op.voxels - from);
      tile.read(image, from, count);
      body(tile, image, from, count, k);
    }
  });
}

// (B, C, 3), tile by tile and then in their order: the same for any number of threads.
template <class C>
void sum_as(const Problem& op, double* sums) {
  const int64_t tiles = (op.voxels + kTile - 1) / kTile, each = 3 * op.channels;
  const Scratch<double> parts(op.batch * tiles * each);
  each_tile<C>(op, [&](const Tile<C>& tile, int64_t, int64_t, int64_t, int64_t k) {
    std::fill_n(&parts[k * each], each, 0.0);
    for (int64_t c = 0; c < op.channels; ++c) tile.add_sums(c, &parts[k * each + 3 * c]);
  });
  std::fill_n(sums, op.batch * each, 0.0);
  for (int64_t k = 0; k < op.batch * tiles; ++k)
    for (int64_t i = 0; i < each; ++i) sums[k / tiles * each + i] += parts[k * each + i];
}
void sum(const Problem& op, double* sums) {
  op.image.dtype == DType::f64 ? sum_as<double>(op, sums) : sum_as<float>(op, sums);
}

template <class C>
void differentiate_as(const Problem& op, const double* slopes, const View& grad) {
  each_tile<C>(op, [&](Tile<C>& tile, int64_t image, int64_t from, int64_t count, int64_t) {
    tile.differentiate(slopes + image * op.channels * 2);
    for (int64_t c = 0; c < op.channels; ++c)
      store_block(grad.dtype, tile.gradient(c), count, grad.data,
                  (image * op.channels + c) * op.voxels + from);
  });
}
void differentiate(const Problem& op, const double* slopes, const View& grad) {
  op.image.dtype == DType::f64 ? differentiate_as<double>(op, slopes, grad)
                               : differentiate_as<float>(op, slopes, grad);
}

}  // namespace overlap
