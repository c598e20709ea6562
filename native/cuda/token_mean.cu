#include "cuda/token_mean.h"

#include <limits>

#include "cuda/launch.h"
#include "cuda/row_team.h"

namespace surprisal::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kSegment = 8192;  // rows of a block that adds them up: fixed, and so is every sum

__device__ double share_of(const TokenRows& rows, int64_t n) {
  const double weight = rows.weight(n), given = rows.token_weight.weight(n);
  if (given != given) report_fault(rows.fault, n, 0, 0, 0);  // of an ignored row, too
  return weight == 0 ? 0 : weight * rows.loss_of(n);
}

struct TotalsWork {
  TokenRows rows;
  bool losses;
  TokenTotals* partial;  // (blocks)
  int64_t blocks;
  TokenTotals* totals;
  NumbersOut loss;  // (1), may be absent
};
using TotalsTeam = BlockTeam<TokenTotals, TokenTotals>;
using TotalsMemory = TeamMemory<TokenTotals, TokenTotals>;

__device__ void add_totals(TokenTotals& into, const TokenTotals& from) {
  into.loss += from.loss;
  into.weight += from.weight;
}

__device__ void write_totals(const TotalsWork& work, const TokenTotals& all) {
  store(work.totals, all);
  if (!work.loss) return;
  const bool mean = work.rows.reduction == Reduction::mean;
  const double empty = std::numeric_limits<double>::quiet_NaN();
  work.loss.set(0, !mean ? all.loss : all.weight == 0 ? empty : all.loss / all.weight);
}

__global__ void __launch_bounds__(kThreads) token_totals_kernel(TotalsWork work) {
  const int64_t last = (block_index() + 1) * kSegment;
  const int64_t end = last < work.rows.rows ? last : work.rows.rows;
  TokenTotals own{};
  for (int64_t n = block_index() * kSegment + thread_index(); n < end; n += kThreads) {
    if (work.losses) own.loss += share_of(work.rows, n);
    own.weight += work.rows.weight(n);
  }
  TotalsTeam team(&shared<TotalsMemory>(), 1);
  team.finish(own, add_totals, [&](const TokenTotals& all, bool leader) {
    if (leader)
      work.blocks > 1 ? store(work.partial + block_index(), all) : write_totals(work, all);
    return all;
  });
}

// The segments' sums, in their order within each thread.
__global__ void __launch_bounds__(kThreads) token_totals_merge_kernel(TotalsWork work) {
  TokenTotals own{};
  for (int64_t b = thread_index(); b < work.blocks; b += kThreads)
    add_totals(own, load(work.partial + b));
  TotalsTeam team(&shared<TotalsMemory>(), 1);
  team.finish(own, add_totals, [&](const TokenTotals& all, bool leader) {
    if (leader) write_totals(work, all);
    return all;
  });
}

__global__ void __launch_bounds__(kThreads) token_losses_kernel(TokenRows rows, NumbersOut loss) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n < rows.rows) loss.set(n, share_of(rows, n));
}

__global__ void __launch_bounds__(kThreads)
    token_gradient_kernel(TokenRows rows, const TokenTotals* totals, Numbers upstream,
                          NumbersOut out) {
  const int64_t n = block_index() * kThreads + thread_index();
  if (n >= rows.rows) return;
  const bool mean = rows.reduction == Reduction::mean;
  const double share = mean ? 1 / load(&totals->weight) : 1;
  const double slope = upstream[rows.reduction == Reduction::none ? n : 0] * share;
  const double average = mean ? load(&totals->loss) * share : 0;
  const bool ignored = rows.label && load(rows.label + n) < 0;
  const bool none = ignored || slope == 0 || (mean && load(&totals->weight) == 0);
  out.set(n, none ? 0 : slope * (rows.loss_of(n) - average));
}

Shape by_row(const TokenRows& rows) { return {(rows.rows + kThreads - 1) / kThreads, kThreads}; }

}  // namespace

const TokenTotals* token_totals(const TokenRows& rows, bool losses, const NumbersOut& loss,
                                Stream& stream) {
  TotalsWork work{
      rows, losses, nullptr, (rows.rows + kSegment - 1) / kSegment, stream.scratch<TokenTotals>(1),
      loss};
  if (work.blocks == 0) work.blocks = 1;
  if (work.blocks > 1) work.partial = stream.scratch<TokenTotals>(work.blocks);
  const int64_t shared = sizeof(TotalsMemory);
  launch(stream, token_totals_kernel, {work.blocks, kThreads, shared}, work);
  if (work.blocks > 1) launch(stream, token_totals_merge_kernel, {1, kThreads, shared}, work);
  return work.totals;
}

void token_losses(const TokenRows& rows, const NumbersOut& loss, Stream& stream) {
  launch(stream, token_losses_kernel, by_row(rows), rows, loss);
}

void token_gradient(const TokenRows& rows, const TokenTotals* totals, const Numbers& upstream,
                    const NumbersOut& out, Stream& stream) {
  launch(stream, token_gradient_kernel, by_row(rows), rows, totals, upstream, out);
}

}  // namespace surprisal::cuda
