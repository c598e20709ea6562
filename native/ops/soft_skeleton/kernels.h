// Included inside a target's namespace.
#include "cpu/blocks.h"
#include "cpu/image_lines.h"
#include "cpu/soft_skeleton.h"
#include "cpu/soft_skeleton_slopes.h"

namespace soft_skeleton {

using namespace ::surprisal::soft_skeleton;

inline Image image_of(const Problem& op) { return {op.planes, op.rows, op.columns, op.volume}; }

template <class C>
void forward_as(const Forward& op) {
  const Image image = image_of(op);
  const int64_t k = op.iterations;
  each_band(image, op.images, k + 2, [&](int64_t index, int64_t from, int64_t to) {
    sweep_skeleton<C>(
        image, k, from, to, [&](int64_t u, C* at) { read_unit(image, op.image, index, u, at); },
        [&](int64_t u, const C* skeleton, const C*) {
          write_unit(image, skeleton, op.skeleton, index, u);
        });
  });
}
void forward(const Forward& op) {
  op.image.dtype == DType::f64 ? forward_as<double>(op) : forward_as<float>(op);
}

template <class C>
void backward_as(const Backward& op) {
  const Image image = image_of(op);
  const int64_t k = op.iterations;
  each_band(image, op.images, 2 * (k + 2), [&](int64_t index, int64_t from, int64_t to) {
    SlopeSweep<C>(image, k).run(
        from, to, [&](int64_t u, C* at) { read_unit(image, op.image, index, u, at); },
        [&](int64_t u, C* at) { read_unit(image, op.upstream, index, u, at); },
        [&](int64_t u, const C* g, const C*) { write_unit(image, g, op.grad, index, u); });
  });
}
void backward(const Backward& op) {
  op.image.dtype == DType::f64 ? backward_as<double>(op) : backward_as<float>(op);
}

}  // namespace soft_skeleton
