// Included inside a target's namespace.
#include "cpu/blocks.h"
#include "cpu/image_lines.h"
#include "cpu/soft_skeleton.h"

namespace soft_skeleton {

using namespace ::surprisal::soft_skeleton;

inline Image image_of(const Problem& op) { return {op.planes, op.rows, op.columns, op.volume}; }

template <class C>
void forward_as(const Forward& op) {
  const Image image = image_of(op);
  each_image(op.images, [&](int64_t k) {
    const Scratch<C> room(image.size() * 4);
    C* const skeleton = room.data() + image.size();
    read_image(image, op.image, k, room.data());
    soft_skeleton_of(image, op.iterations, room.data(), skeleton + image.size(), skeleton);
    write_image(image, skeleton, op.skeleton, k);
  });
}
void forward(const Forward& op) {
  op.image.dtype == DType::f64 ? forward_as<double>(op) : forward_as<float>(op);
}

template <class C>
void backward_as(const Backward& op) {
  const Image image = image_of(op);
  each_image(op.images, [&](int64_t k) {
    const Scratch<C> upstream(image.size());
    SkeletonGradient<C> gradient(image, op.iterations);
    read_image(image, op.image, k, gradient.image());
    read_image(image, op.upstream, k, upstream.data());
    write_image(image, gradient.run(upstream.data()), op.grad, k);
  });
}
void backward(const Backward& op) {
  op.image.dtype == DType::f64 ? backward_as<double>(op) : backward_as<float>(op);
}

}  // namespace soft_skeleton
