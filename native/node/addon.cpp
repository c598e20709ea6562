// The addon's list of operations: one line each.
#include "node/bind.h"
#include "node/device.h"
#include "node/dlpack.h"
#include "node/system.h"

#define SURPRISAL_OPERATIONS(X) \
  X(betti_matching)             \
  X(cast)                       \
  X(cdist)                      \
  X(channel_norm)               \
  X(cl_dice)                    \
  X(convolution)                \
  X(cross_entropy)              \
  X(cumsum)                     \
  X(divergence)                 \
  X(emd)                        \
  X(emd1d)                      \
  X(elementwise)                \
  X(emo)                        \
  X(focal)                      \
  X(indexing)                   \
  X(interpolate)                \
  X(linear_cross_entropy)       \
  X(matmul)                     \
  X(movement)                   \
  X(norm)                       \
  X(optimiser)                  \
  X(overlap)                    \
  X(pool)                       \
  X(random)                     \
  X(reduce)                     \
  X(region_wise)                \
  X(roofline)                   \
  X(sinkd)                      \
  X(sinkhorn)                   \
  X(sinkhorn_knopp)             \
  X(skeletonize)                \
  X(soft_skeleton)              \
  X(softmax)                    \
  X(sort)                       \
  X(topograph)                  \
  X(uld)                        \
  X(warping)

#define DECLARE(op)                    \
  namespace surprisal::op {            \
  void bind(surprisal::node::Module&); \
  }
SURPRISAL_OPERATIONS(DECLARE)
#undef DECLARE

static Napi::Object init(Napi::Env env, Napi::Object exports) {
  surprisal::node::Module module(env, exports);
  try {
    surprisal::node::bind_system(module, env, exports);
    surprisal::node::bind_device(env, exports);
    surprisal::node::bind_dlpack(env, exports);
#define BIND(op) surprisal::op::bind(module);
    SURPRISAL_OPERATIONS(BIND)
#undef BIND
  } catch (...) {
    surprisal::node::throw_current(env);
  }
  return exports;
}

NODE_API_MODULE(surprisal, init)
