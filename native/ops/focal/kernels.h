// Included inside a target's namespace.
#include "cpu/vector_math.h"
#include "cpu/blocks.h"

namespace focal {

using namespace ::surprisal::focal;

template <class C>
struct Element {
  using V = vector_t<C>;
  V p, q, minus_log_p, minus_log_q, p_power, q_power;

  Element(V x, C gamma) {
    const V e = exp(-abs(x)), rest = log1p(e), over = C(1) / (C(1) + e);
    const auto below = x < V{};
    p = select(below, e * over, over);
    q = select(below, over, e * over);
    minus_log_q = max(x, V{}) + rest;
    minus_log_p = max(-x, V{}) + rest;
    q_power = gamma == 0 ? splat(C(1)) : exp(minus_log_q * -gamma);
    p_power = gamma == 0 ? splat(C(1)) : exp(minus_log_p * -gamma);
  }
  // What has no share adds nothing, not even infinity.
  static V shared(V share, V x) { return select(share == V{}, V{}, share * x); }
  V loss(V t, C positive, C negative) const {
    return shared(t * positive, q_power * minus_log_p) +
           shared((C(1) - t) * negative, p_power * minus_log_q);
  }
  V slope(V t, C gamma, C positive, C negative) const {
    const V rise = p_power * (shared(q * gamma, minus_log_q) + p);
    const V fall = q_power * (shared(p * gamma, minus_log_p) + q);
    return shared((C(1) - t) * negative, rise) - shared(t * positive, fall);
  }
};

// Calls body(first element, count, logits, targets) for blocks, by any thread.
template <class C, class F>
void each_block(const Problem& op, F body) {
  const int64_t n = op.logits.size, blocks = (n + kBlock - 1) / kBlock;
  parallel_for(blocks, 8, [&](int64_t begin, int64_t end) {
    C x[kBlock], t[kBlock];
    for (int64_t k = begin; k < end; ++k) {
      const int64_t at = k * kBlock, count = std::min(kBlock, n - at);
      load_block(op.logits.dtype, op.logits.data, at, count, x);
      load_block(op.target.dtype, op.target.data, at, count, t);
      std::fill(x + count, x + kBlock, C(0));
      std::fill(t + count, t + kBlock, C(0));
      body(at, count, x, t);
    }
  });
}

// Every element's loss into op.loss, or the sum of each block into `parts`.
template <class C>
void forward_as(const Forward& op, double* parts) {
  const C gamma = C(op.gamma), positive = C(op.positive), negative = C(op.negative);
  each_block<C>(op, [&](int64_t at, int64_t count, const C* x, const C* t) {
    C loss[kBlock];
    for (int64_t i = 0; i < count; i += kLanes<C>)
      store(loss + i, Element<C>(load(x + i), gamma).loss(load(t + i), positive, negative));
    if (!parts) return store_block(op.loss.dtype, loss, count, op.loss.data, at);
    std::fill(loss + count, loss + kBlock, C(0));
    vector_t<C> sum{};
    for (int64_t i = 0; i < count; i += kLanes<C>) sum += load(loss + i);
    parts[at / kBlock] = reduce_add(sum);
  });
}
void forward(const Forward& op, double* parts) {
  op.logits.dtype == DType::f64 ? forward_as<double>(op, parts) : forward_as<float>(op, parts);
}

// `scale` is that of all elements, or null: then each has its own upstream gradient.
template <class C>
void backward_as(const Backward& op, const double* scale) {
  const C gamma = C(op.gamma), positive = C(op.positive), negative = C(op.negative);
  each_block<C>(op, [&](int64_t at, int64_t count, const C* x, const C* t) {
    C by[kBlock], grad[kBlock];
    if (scale) {
      std::fill_n(by, kBlock, C(*scale));
    } else {
      load_block(op.upstream.dtype, op.upstream.data, at, count, by);
      std::fill(by + count, by + kBlock, C(0));
    }
    for (int64_t i = 0; i < count; i += kLanes<C>) {
      const Element<C> element(load(x + i), gamma);
      store(grad + i, load(by + i) * element.slope(load(t + i), gamma, positive, negative));
    }
    store_block(op.grad.dtype, grad, count, op.grad.data, at);
  });
}
void backward(const Backward& op, const double* scale) {
  op.logits.dtype == DType::f64 ? backward_as<double>(op, scale) : backward_as<float>(op, scale);
}

}  // namespace focal
