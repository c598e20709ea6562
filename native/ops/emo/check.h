// The facts that the CPU and the CUDA forms assert.
#pragma once
#include "core/check.h"
#include "ops/emo/op.h"

namespace surprisal::emo {

inline void check(const OnLogits& op) {
  require(op.logits.size == op.rows * op.classes, "emo: size of logits");
  require(op.target.size == op.rows && op.row_loss.size == op.rows, "emo: size of target");
  require(op.cosines ? op.cosines.size == op.classes * op.classes
                     : op.embedding.size == op.classes * op.width,
          "emo: size of cosines or embedding");
  const View& g = op.grad_logits;
  require(!g || (g.size == op.logits.size && g.dtype == op.logits.dtype), "emo: gradLogits");
}

inline void check(const Linear& op) {
  require(op.x.size == op.rows * op.width, "linearEmo: size of x");
  require(op.weight.size == op.classes * op.width && op.weight.dtype == op.x.dtype,
          "linearEmo: weight");
  require(
      !op.embedding || (op.embedding.size == op.weight.size && op.embedding.dtype == op.x.dtype),
      "linearEmo: embedding");
  require(op.target.size == op.rows && op.row_loss.size == op.rows, "linearEmo: size of target");
  const auto like = [](const View& g, const View& of) {
    require(!g || (g.size == of.size && g.dtype == of.dtype), "linearEmo: gradients");
  };
  like(op.grad_x, op.x);
  like(op.grad_weight, op.weight);
}

}  // namespace surprisal::emo
