// Rigid motions of space, x -> R·x + t. R is parametrised by a rotation vector: its direction is
// the axis, its length the angle, so a step of a gradient never leaves the rotations.
import * as sp from 'surprisal';

export interface Motion {
  /** Rotation vector, [3]. */
  turn: sp.Tensor;
  /** Translation, [3]. */
  shift: sp.Tensor;
}

// W(w)·x = w × x, as a linear map from w [3] to W [9].
const crossProduct = [
  [0, 0, 0, 0, 0, -1, 0, 1, 0],
  [0, 0, 1, 0, 0, 0, -1, 0, 0],
  [0, -1, 0, 1, 0, 0, 0, 0, 0],
];

/**
 * The rotation by a vector w of length θ: I + sin(θ)/θ·W + (1 - cos θ)/θ²·W² (Rodrigues 1840).
 * Differentiable, at w = 0 too.
 */
export function rotation(turn: sp.Tensor): sp.Tensor {
  const basis = sp.tensor(crossProduct, { dtype: turn.dtype });
  const w = turn.reshape([1, 3]).matmul(basis).reshape([3, 3]);
  // Not 0, so that neither the root nor the quotients have a singular derivative.
  const square = turn.mul(turn).sum().add(1e-8);
  const angle = square.sqrt();
  const first = angle.sin().div(angle);
  const half = angle.mul(0.5).sin();
  // 2·sin²(θ/2) = 1 - cos θ, without its cancellation.
  const second = half.mul(half).mul(2).div(square);
  const identity = sp.eye(3, { dtype: turn.dtype });
  return identity.add(w.mul(first)).add(w.matmul(w).mul(second));
}

/** Points [N, 3] moved. */
export function moved(points: sp.Tensor, { turn, shift }: Motion): sp.Tensor {
  return sp.matmul(points, rotation(turn), { transposeB: true }).add(shift);
}

export interface MotionError {
  /** Angle of the rotation that is left between the two. */
  degrees: number;
  /** Distance between the two images of the origin. */
  shift: number;
}

/** How far a motion is from the true one. */
export function motionError(found: Motion, truth: Motion): MotionError {
  return sp.noGrad(() =>
    sp.scope(() => {
      const between = sp.matmul(rotation(found.turn), rotation(truth.turn), { transposeB: true });
      const r = between.dataSync() as Float64Array;
      // The axial part is exact for small angles, where the arc cosine of the trace is not.
      const sine = Math.hypot(r[7] - r[5], r[2] - r[6], r[3] - r[1]) / 2;
      const cosine = (r[0] + r[4] + r[8] - 1) / 2;
      const [a, b] = [found.shift, truth.shift].map((t) => t.dataSync() as Float64Array);
      return {
        degrees: (Math.atan2(sine, cosine) * 180) / Math.PI,
        shift: Math.hypot(...a.map((value, k) => value - b[k])),
      };
    }),
  );
}
