// Registration: gradient descent of a Sinkhorn divergence on the rotation vector and the
// translation that carry one cloud onto the other. Nobody tells which point belongs to which; the
// plan does.
import { setImmediate } from 'node:timers/promises';
import * as sp from 'surprisal';
import type { Pair } from './clouds.js';
import { type Motion, type MotionError, motionError, moved } from './rigid.js';

type Range = readonly [first: number, last: number];

export interface Descent {
  steps: number;
  /** Of the first step and of the last ones; between them it falls evenly in its logarithm. */
  blur: Range;
  /** How far mass is moved before it is given up, likewise; none: all of it is moved. */
  reach?: Range;
}

export interface Registration {
  motion: Motion;
  error: MotionError;
  /** By step, before it was taken. */
  losses: number[];
  degrees: number[];
  blurs: number[];
}

const falling = 0.7; // share of the steps in which blur and reach fall
// Where all points are found again, what is left of the angle comes from marginals that do not hold.
const tolerance = 1e-4;

export function optionsAt({ steps, blur, reach }: Descent, step: number) {
  const share = Math.min(1, step / (falling * steps));
  const at = ([first, last]: Range) => first * (last / first) ** share;
  return { blur: at(blur), reach: reach && at(reach), tolerance };
}

// The cloud's mean square radius is 1, so along a translation the loss has curvature 1 and along a
// rotation about an axis the moment of inertia, about 2/3: a step of length 1 is near Newton's.
// Somewhat more, since the gradient is smaller where mass is given up.
const learningRate = 1.5;
const momentum = 0.5;

export async function register(
  { source, target, truth }: Pair,
  descent: Descent,
  onStep: (step: number, loss: number, error: MotionError) => void,
): Promise<Registration> {
  const motion = {
    turn: sp.zeros([3], { requiresGrad: true }),
    shift: sp.zeros([3], { requiresGrad: true }),
  };
  const optimizer = new sp.optim.SGD([motion.turn, motion.shift], { lr: learningRate, momentum });
  const result: Registration = {
    motion,
    error: motionError(motion, truth),
    losses: [],
    degrees: [],
    blurs: [],
  };
  for (let step = 0; step < descent.steps; step++) {
    const options = optionsAt(descent, step);
    const loss = sp.scope(() => {
      const value = sp.sinkhornDivergence(moved(source, motion), target, options);
      value.backward();
      optimizer.step();
      optimizer.zeroGrad();
      return value.item();
    });
    result.losses.push(loss);
    result.degrees.push(result.error.degrees);
    result.blurs.push(options.blur);
    result.error = motionError(motion, truth);
    onStep(step + 1, loss, result.error);
    await setImmediate();
  }
  return result;
}

export interface Matches {
  /** For each source point the target point that most of its mass goes to. */
  best: Int32Array;
  /** For each source point the share of its weight that the plan moves. */
  carried: Float32Array;
  /** Of the points whose image is in the target, the share whose best match is that image. */
  correct: number;
}

/** What the plan between the moved source and the target says. */
export function matches(
  { source, target, partner }: Pair,
  motion: Motion,
  options: object,
): Matches {
  return sp.noGrad(() =>
    sp.scope(() => {
      const plan = sp.sinkhornPotentials(moved(source, motion), target, options).plan();
      const best = Int32Array.from(plan.argmax({ dim: 1 }).dataSync() as Int32Array);
      const mass = plan.sum({ dim: 1 }).mul(source.shape[0]);
      const present = [...partner.keys()].filter((i) => partner[i] >= 0);
      const right = present.filter((i) => best[i] === partner[i]);
      return {
        best,
        carried: Float32Array.from(mass.dataSync() as Float32Array),
        correct: right.length / present.length,
      };
    }),
  );
}
