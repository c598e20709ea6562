// The facts that the CPU and the CUDA form on logits assert.
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

}  // namespace surprisal::emo
