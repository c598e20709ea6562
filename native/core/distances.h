// The Euclidean distance transform: of each voxel of a mask the squared distance to the nearest one
// outside it, 0 outside; infinity where the mask is everything. Exact: along the rows, then one
// axis after the other by the lower envelope of parabolas (Felzenszwalb and Huttenlocher 2012).
// What lies beyond the image is not outside the mask.
#pragma once
#include <cstdint>

namespace surprisal {

// `mask` and `out` have shape[0] shape[1] shape[2] voxels, the last axis the fastest.
void squared_distances(const uint8_t* mask, const int64_t (&shape)[3], const double (&spacing)[3],
                       double* out);

}  // namespace surprisal
