// One half step of a team: softmins of the other side's potential at the points of a side. For
// each row i: s_i = sum over j of 2^(k Z_ij + guess_i + weighted_j), where guess_i is the row's own
// potential, so that s_i is near 1, no maximum is needed and s_i - 1 is the error of the row's
// marginal; rows whose sum leaves the range (or has no guess) are done again from their maximum.
// D FMA, one exponential and three more instructions a pair; of memory, the columns' points once
// for the rows of a block. Large problems in many features: products_device.h.
#pragma once
#include "ops/sinkhorn/control.h"
#include "ops/sinkhorn/passes_device.h"
#include "ops/sinkhorn/points_device.h"
#include "ops/sinkhorn/products_device.h"
#include "ops/sinkhorn/team.h"

namespace surprisal::sinkhorn {

constexpr int kMostWarps = kMostThreads / cuda::kWarp;

struct ControlMemory {
  Control control;
  Decision decision;
  double marginal[2];  // of both sides, after their last update
  Part segments[kSegments];
  double again_sum[cuda::kWarp];  // of 32 rows
  float again_guess[cuda::kWarp];
  int32_t fine[kMostWarps];
};
static_assert(sizeof(ControlMemory) <= kControlBytes, "plan.h");

// Source gives points(half) and scores(half), which is cheaper than registers for what they are.
template <class A, class Source>
class RowStep {
 public:
  // At the points of half `own`, of the other side's potentials.
  __device__ RowStep(const Source& source, int own, int other, A k, Team& team,
                     ControlMemory& memory, Tiles<A>& tiles)
      : source_(source),
        half_(own),
        other_half_(other),
        k_(k),
        team_(team),
        memory_(memory),
        tiles_(tiles) {}

  // fresh: there are no guesses yet.
  __device__ Part run(bool fresh) {
    const DevicePoints<A> own = this->own();
    const Scores<A> scores = this->scores();
    const A* weighted = other().weighted;
    const int rows = cuda::block_size() / cuda::kWarp * kWarpRows;
    for (int64_t i = team_.rank * rows; i < own.n; i += team_.size * rows) {
      const int64_t first = i + cuda::warp_index() * kWarpRows;
      A guess[kWarpRows];
      double sum[kWarpRows];
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        guess[r] = guess_of(own, first + r < own.n ? first + r : own.n - 1);
        sum[r] = 0;
      }
      // First as it is, then, if need be, from the maxima.
      for (int round = fresh ? 1 : 0; round < 2; ++round) {
        A row[kWarpRows];
        if (round == 1) {
          most_of_rows(scores, tiles_, i, k_, weighted, row);
        } else {
#pragma unroll
          for (int r = 0; r < kWarpRows; ++r) row[r] = guess[r];
        }
        double found[kWarpRows];
        sums_of_rows(scores, tiles_, i, k_, row, weighted, found);
        bool fine = true;
#pragma unroll
        for (int r = 0; r < kWarpRows; ++r) {
          if (round == 0 || fresh || !in_range<A>(sum[r])) {
            guess[r] = row[r];
            sum[r] = found[r];
          }
          fine = fine && (first + r >= own.n || in_range<A>(sum[r]));
        }
        if (round == 0 && all_fine(fine)) break;
      }
      put_rows(own, first, guess, sum);
    }
    return team_.total(ceil_div(own.n, kWarpRows));
  }

  // Where costs are small beside epsilon: excesses of the sums over 1, see weak.h.
  __device__ Part weak(double epsilon) {
    const DevicePoints<A> own = this->own(), other = this->other();
    const Scores<A> scores = this->scores();
    const int rows = cuda::block_size() / cuda::kWarp * kWarpRows;
    for (int64_t i = team_.rank * rows; i < own.n; i += team_.size * rows) {
      const int64_t first = i + cuda::warp_index() * kWarpRows;
      double sum[kWarpRows];
      excesses_of_rows(scores, tiles_, i, own, other, 1 / epsilon, sum);
      if (first >= own.n) continue;
      Part part;
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        if (cuda::lane_index() == r && first + r < own.n)
          part = settle_weak(own, first + r, epsilon, sum[r] + (other.mass - 1));
      }
      part = lanes_total<kWarpRows>(part);
      if (cuda::lane_index() == 0) team_.put(first / kWarpRows, part);
    }
    return team_.total(ceil_div(own.n, kWarpRows));
  }

  // By tensor cores: sums of chunks go to `partial` (chunks, rows) and, if both are wanted, those
  // of the columns to `columns` (bands, columns); the team meets; then a lane has a row.
  __device__ Part by_products(const ProductSides& sides, PassSums sums, double* partial,
                              double* columns) {
    const ProductUnits units = units_of(sums, sides.x.count, sides.y.count);
    const int64_t rows = units.rows;
    const auto put = [&](int64_t i, int64_t chunk, double sum) {
      cuda::store(partial + chunk * rows + i, sum);
    };
    if (sums == PassSums::rows) {
      pass<false>(sides, units, put, [](auto...) {});
    } else {
      // Without the columns' weights, and as if by the columns' guesses.
      double* to = sums == PassSums::triangle ? partial : columns;
      const double more = std::log2(static_cast<double>(units.columns));
      const double less = std::log2(static_cast<double>(rows));
      pass<true>(sides, units, put, [&](int64_t j, int64_t band, float sum) {
        const DevicePoints<A> p = other();
        const double weight = static_cast<double>(cuda::load(p.weighted + j)) + more -
                              static_cast<double>(guess_of(p, j, less));
        cuda::store(to + band * p.n + j, static_cast<double>(sum) * std::exp2(-weight));
      });
    }
    return settle_chunks(partial, units.chunks());
  }
  // Of a pass that gave both: the columns' turn.
  __device__ Part settle_chunks(const double* partial, int64_t chunks) {
    team_.meet();
    const int warps = cuda::block_size() / cuda::kWarp;
    const int64_t n = own().n, sets = ceil_div(n, cuda::kWarp);
    for (int64_t first = team_.rank * warps; first < sets; first += team_.size * warps) {
      const int64_t set = first + cuda::warp_index(), i = set * cuda::kWarp + cuda::lane_index();
      const bool real = i < n;
      A guess = real ? guess_of(own(), i, std::log2(static_cast<double>(other().n))) : A(0);
      double sum = real ? 0 : 1;
      for (int64_t c = 0; real && c < chunks; ++c) sum += cuda::load(partial + c * n + i);
      if (!all_fine(!cuda::any_lane(!in_range<A>(sum)))) again(first, &guess, &sum);
      Part part;
      if (real) part = settle(own(), i, static_cast<double>(guess), sum);
      part = lanes_total<cuda::kWarp>(part);
      if (cuda::lane_index() == 0 && set < sets) team_.put(set, part);
    }
    return team_.total(sets);
  }

 private:
  __device__ DevicePoints<A> own() const { return source_.points(half_); }
  __device__ DevicePoints<A> other() const { return source_.points(other_half_); }
  __device__ Scores<A> scores() const { return source_.scores(half_); }
  // Exponents near 0 are rounded least: `lift` makes up for the columns' weights.
  __device__ A guess_of(const DevicePoints<A>& side, int64_t i, double lift = 0) const {
    const double f = cuda::load(side.potential + i) - cuda::load(side.shift + i);
    return static_cast<A>(static_cast<double>(k_) * f + lift);
  }
  template <bool kBoth, class R, class C>
  __device__ void pass(const ProductSides& sides, const ProductUnits& units, R&& row, C&& column) {
    const auto scale = static_cast<float>(static_cast<double>(k_) * sides.shrink);
    const double lift = std::log2(static_cast<double>(units.columns));
    ProductPass<kBoth>(sides, units, scale, other().weighted,
                       reinterpret_cast<ProductMemory&>(tiles_))
        .run(
            team_.rank, team_.size, [&](int64_t i) { return guess_of(own(), i, lift); },
            [&](int64_t i) { return static_cast<float>(cuda::load(own().weight + i)); }, row,
            column);
  }

  // Whether all warps of the block say so.
  __device__ bool all_fine(bool fine) {
    const int warps = cuda::block_size() / cuda::kWarp;
    if (warps == 1) return fine;
    if (cuda::lane_index() == 0) cuda::store(memory_.fine + cuda::warp_index(), int32_t{fine});
    cuda::sync_threads();  // every warp has said it
    for (int w = 0; w < warps; ++w) fine = fine && cuda::load(memory_.fine + w);
    cuda::sync_threads();  // everybody has heard it
    return fine;
  }

  // By the whole block: the sets of 32 rows, one a warp, that are not fine.
  __device__ void again(int64_t first, A* guess, double* sum) {
    const Scores<A> scores = this->scores();
    const A* weighted = other().weighted;
    for (int w = 0; w < cuda::block_size() / cuda::kWarp; ++w) {
      if (cuda::load(memory_.fine + w)) continue;
      const int64_t i = (first + w) * cuda::kWarp;
      A row[kWarpRows];
      double found[kWarpRows];
      most_of_rows(scores, tiles_, i, k_, weighted, row);
      sums_of_rows(scores, tiles_, i, k_, row, weighted, found);
#pragma unroll
      for (int r = 0; r < kWarpRows; ++r) {
        if (cuda::lane_index() != r) continue;
        const int at = cuda::warp_index() * kWarpRows + r;
        cuda::store(memory_.again_guess + at, static_cast<float>(row[r]));
        cuda::store(memory_.again_sum + at, found[r]);
      }
      cuda::sync_threads();  // all 32 rows are there
      if (cuda::warp_index() == w && !in_range<A>(*sum)) {
        *guess = cuda::load(memory_.again_guess + cuda::lane_index());
        *sum = cuda::load(memory_.again_sum + cuda::lane_index());
      }
      cuda::sync_threads();  // they have been read
    }
    cuda::sync_threads();  // everybody knows whose turn it was
  }

  // Of a row whose powers, times 2^guess, add up to `sum`.
  __device__ Part settle(const DevicePoints<A>& own, int64_t i, double guess, double sum) const {
    const double unit = static_cast<double>(k_);
    const double f = cuda::load(own.potential + i), w = cuda::load(own.weight + i);
    const double softmin = (guess - std::log2(sum)) / unit + cuda::load(own.shift + i);
    const double share = std::exp2(unit * (f - softmin));
    cuda::store(own.softmin + i, softmin);
    return {w > 0 ? w * std::fabs(share - own.marginal(f)) : 0, w > 0 ? w * share : 0,
            std::fabs(f)};
  }
  __device__ Part settle_weak(const DevicePoints<A>& own, int64_t i, double epsilon,
                              double excess) const {
    const double f = cuda::load(own.potential + i), w = cuda::load(own.weight + i);
    cuda::store(own.softmin + i, f - epsilon * std::log1p(excess));
    return {w > 0 ? w * std::fabs(excess - own.marginal_excess(f)) : 0,
            w > 0 ? w * (1 + excess) : 0, std::fabs(f)};
  }
  // Lane r has row r.
  __device__ void put_rows(const DevicePoints<A>& own, int64_t first, const A (&guess)[kWarpRows],
                           const double (&sum)[kWarpRows]) {
    if (first >= own.n) return;
    Part part;
    const int lane = cuda::lane_index();
    if (lane < kWarpRows && first + lane < own.n) {
      double g = static_cast<double>(guess[0]), s = sum[0];
#pragma unroll
      for (int r = 1; r < kWarpRows; ++r) {
        if (lane == r) {
          g = static_cast<double>(guess[r]);
          s = sum[r];
        }
      }
      part = settle(own, first + lane, g, s);
    }
    part = lanes_total<kWarpRows>(part);
    if (lane == 0) team_.put(first / kWarpRows, part);
  }

  const Source& source_;
  const int half_, other_half_;
  const A k_;
  Team& team_;
  ControlMemory& memory_;
  Tiles<A>& tiles_;
};

}  // namespace surprisal::sinkhorn
