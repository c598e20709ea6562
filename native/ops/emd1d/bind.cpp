#include "node/bind.h"
#include "ops/emd1d/op.h"
#include "ops/emd1d/plan.h"

namespace surprisal::emd1d {

namespace {

// What would be launched, for tests.
struct LaunchQuery : Sizes {
  View out;  // float64: room, tiles, threads and merges of x's sort; threads of a line, lanes of a
             // point of x and of y, lines and problems at once, bytes of scratch
};

void query(const LaunchQuery& op) {
  require(op.out.size == 10, "emd1d: size of the launches");
  const Sort s = plan_sort(op.n);
  const Share share = plan_share(op);
  const double values[] = {double(s.room),
                           double(s.tiles),
                           double(s.threads),
                           double(s.merges),
                           double(threads_of_line(op.n, op.m)),
                           double(lanes_of_point(op.n, op.m)),
                           double(lanes_of_point(op.m, op.n)),
                           double(share.lines),
                           double(share.problems),
                           double(share.bytes)};
  for (int i = 0; i < 10; ++i) op.out.as<double>()[i] = values[i];
}

}  // namespace

void bind(node::Module& m) {
  m.def<LaunchQuery, query>(
      "emd1dLaunches",
      {SP_FIELD(LaunchQuery, batch), SP_FIELD(LaunchQuery, n), SP_FIELD(LaunchQuery, m),
       SP_FIELD(LaunchQuery, projections), SP_FIELD(LaunchQuery, width),
       SP_FIELD(LaunchQuery, element), SP_FIELD(LaunchQuery, scratch), SP_FIELD(LaunchQuery, out)});
  m.def<Transport, transport, SP_CUDA(transport_cuda)>(
      "emd1d",
      {SP_FIELD(Transport, x), SP_FIELD(Transport, y), SP_FIELD(Transport, a),
       SP_FIELD(Transport, b), SP_FIELD(Transport, directions), SP_FIELD(Transport, value),
       SP_FIELD(Transport, dx), SP_FIELD(Transport, dy), SP_FIELD(Transport, da),
       SP_FIELD(Transport, db), SP_FIELD(Transport, batch), SP_FIELD(Transport, n),
       SP_FIELD(Transport, m), SP_FIELD(Transport, width), SP_FIELD(Transport, projections),
       SP_FIELD(Transport, p), SP_FIELD(Transport, workspace)});
}

}  // namespace surprisal::emd1d
