// Cross-entropy of z = x·Wᵀ + bias without z (N, V) (Wijmans et al. 2024): the loss of
// ops/cross_entropy row by row (core/row_loss.h), and with p = softmax of the mapped logits
//   dz_c = A p_c - B w_c (c != y), dz_y kept apart;  dx = dz·W, dW = dzᵀ·x, dbias = sums of dz.
// Row t of each of `batch` sequences of `length` rows is scored against target t + shift.
// Where the upstream gradient is one number, forward computes the gradients for an upstream of 1
// while it holds z (three matrix products in all). Saved for backward: row_sums, four doubles a
// scored row. Sums: float32 within a strip of columns, double across strips and rows.
// A target outside [0, V), a negative class weight or a NaN token weight throws before any write.
#pragma once
#include "core/row_loss.h"
#include "core/view.h"

namespace surprisal::linear_cross_entropy {

struct Linear {
  View x;       // (batch, length, D)
  View weight;  // (V, D)
  View bias;    // (V), may be absent; all three of one float dtype
  int64_t batch = 1, length = 0, width = 0, classes = 0, shift = 0;
  double temperature = 1, softcap = 0;  // softcap 0: none
  bool cap_first = false;
  int64_t workspace_bytes = int64_t{32} << 20;
};

struct Scored : Linear {
  View target;  // (batch, length) int32 or int64
  int64_t ignore_index = -100;
  View row_sums;  // (batch, length - shift, 4) float64: RowState
};

// Gradients, each absent unless wanted.
struct Gradients {
  View dx, dweight, dbias;
  bool add_to_dweight = false;  // dweight is then float32: += upstream·dW
};

struct Loss : Scored, Gradients {
  View class_weight;      // (V), any float dtype, may be absent
  View token_weight;      // (batch, length), any float dtype, may be absent
  int32_t reduction = 1;  // Reduction
  double label_smoothing = 0, z_loss = 0;
  int32_t epilogue = 0;  // Epilogue
  double epilogue_k = 0;
  double filter_eps = -1, filter_error = -1;  // LogitFilter; both negative: every block counts
  View filter_report;                         // (3) float64, absent unless the gradient is filtered
  // On a device: what forward leaves to a filtered backward, (tiles of 128 classes, scored rows, 2)
  // of accumulators (TileSums); absent: the gradient keeps every block.
  View filter_tiles;
  View stored;  // bytes that forward leaves to backward on a device (StoredQuery), may be absent
};

struct Forward : Loss {
  View
      loss;  // (1), or (batch, length - shift) without a reduction; float64 for float64, or float32
  // What a backward will ask for, so that a workspace too small for it is refused here.
  bool later_x = false, later_weight = false, later_bias = false, later_adds = false;
};
// How many bytes forward would leave to backward, within the workspace; 0 where the device has no
// kernels for it.
struct StoredQuery : Linear {
  double label_smoothing = 0;
  bool filtered = false;
  bool later_x = false, later_weight = false, later_bias = false, later_adds = false;
  View bytes;  // (1) float64, of the host
};
struct Backward : Loss {
  View upstream;  // like loss
  View dtoken_weight;
  // What forward computed, or absent; may be where the gradients go. bfloat16 is computed anew
  // rather than rounded a second time, unless the upstream is a power of two.
  View unit_x, unit_weight, unit_bias;
};

// Per row log p_y, lse(z) and the entropy H = lse - sum of p_c z_c; 0 for ignored ids.
struct Logprobs : Scored {
  View logprob, lse, entropy;  // (batch, length - shift), like a loss
  bool later_x = false, later_weight = false, later_bias = false;
};
struct LogprobsBackward : Scored, Gradients {
  View dlogprob, dlse, dentropy;  // upstream, each may be absent
};

// The part of one shard, classes [vocab_offset, vocab_offset + V), in every row. An ignored row has
// max = sum_exp = target_logit = 0, so that merged its loss is 0.
struct Partials : Scored {
  int64_t vocab_offset = 0;
  View max, sum_exp, target_logit, sum_logits;  // (batch, length) float32
};
// dz = grad_loss (e^(z - lse) - 1_y), lse being that of all shards.
struct ShardBackward : Scored, Gradients {
  int64_t vocab_offset = 0;
  View lse, grad_loss;  // (batch, length) float32
};

// The first class of the largest logit in each row.
struct Argmax : Linear {
  View out;  // (batch, length) int32
};

void forward(const Forward& op);
void stored_bytes(const StoredQuery& op);
void backward(const Backward& op);
void logprobs(const Logprobs& op);
void logprobs_backward(const LogprobsBackward& op);
void partials(const Partials& op);
void shard_backward(const ShardBackward& op);
void argmax(const Argmax& op);

void forward_cuda(const Forward& op, cuda::Stream& stream);
void stored_bytes_cuda(const StoredQuery& op, cuda::Stream& stream);
void backward_cuda(const Backward& op, cuda::Stream& stream);
void logprobs_cuda(const Logprobs& op, cuda::Stream& stream);
void logprobs_backward_cuda(const LogprobsBackward& op, cuda::Stream& stream);
void partials_cuda(const Partials& op, cuda::Stream& stream);
void shard_backward_cuda(const ShardBackward& op, cuda::Stream& stream);
void argmax_cuda(const Argmax& op, cuda::Stream& stream);

}  // namespace surprisal::linear_cross_entropy
