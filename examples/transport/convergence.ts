// How fast the iterations of one problem converge: solved again with ever more of them allowed.
import * as sp from 'surprisal';
import type { Point } from '../chart.js';

export interface Curve {
  blur: number;
  /** Iterations, and the L1 error of the marginals after them. */
  points: Point[];
}

const enough = 1e-9;

/** The error by iteration, up to `most` iterations, each point 1.4 times as far as the last. */
export function errorCurve(x: sp.Tensor, y: sp.Tensor, blur: number, most: number): Curve {
  const points: Point[] = [];
  for (let count = 1; count <= most; count = Math.ceil(count * 1.4)) {
    const { iterations, error } = sp.scope(() => {
      const { iterations, error } = sp.sinkhornPotentials(x, y, {
        blur,
        tolerance: enough,
        maxIterations: count,
      });
      return { iterations, error };
    });
    points.push({ x: iterations, y: error });
    if (error <= enough || iterations < count) break;
  }
  return { blur, points };
}
