// How losses, convolutions and solvers are called. Definitions in float64 are given where they are a
// line; the wider ones run in the operations' own tests.
import * as sp from '../../src/index.js';
import * as reduce from '../reference/reduce.js';
import { type Draw, type Maker, type Planned, sizeOf } from './draw.js';

const reductions = ['mean', 'sum', 'none'];

function classification(d: Draw, options: (d: Draw) => Record<string, unknown>): Planned {
  const dtype = d.dtype();
  const lead = d.shape(0, 2);
  const classes = d.once(5) ? d.between(50, 300) : d.between(1, 12);
  const { t, a } = d.floats([...lead, classes], dtype);
  const target = d.indices(lead, classes);
  const given = options(d);
  if (Object.keys(given).length > 0) return { args: [t, target.t, given] };
  const expected = () => {
    const losses = target.a.values.map((y, i) => {
      const row = a.values.slice(i * classes, (i + 1) * classes);
      return reduce.logsumexp(row) - row[y];
    });
    return [reduce.mean(losses)];
  };
  return { args: [t, target.t], expected, scale: 8 };
}

const crossEntropyOptions = (d: Draw) =>
  d.options({
    reduction: d.pick(reductions),
    labelSmoothing: d.uniform(),
    zLoss: d.uniform(0, 0.1),
    temperature: d.uniform(0.3, 3),
    softcap: d.uniform(1, 50),
    capFirst: true,
  });

function linear(d: Draw): { x: sp.Tensor; weight: sp.Tensor; target: sp.Tensor } {
  const dtype = d.dtype();
  const [features, classes] = [d.size(), d.between(1, 90)];
  const lead = d.shape(0, 2);
  return {
    x: d.tensor([...lead, features], dtype),
    weight: d.tensor([classes, features], dtype),
    target: d.indices(lead, classes).t,
  };
}

function images(d: Draw, most = 6, low = 2, high = 3): number[] {
  const extent = Array.from({ length: d.between(low, high) }, () => d.between(1, most));
  return [d.between(1, 2), d.between(1, 2), ...extent];
}

/** A prediction of probabilities and a mask alike. */
const overlap = (options: (d: Draw) => Record<string, unknown>, low = 1, high = 3): Maker => {
  return (d) => {
    const shape = images(d, 6, low, high);
    return { args: [d.probabilities(shape, d.dtype()), d.mask(shape).t, options(d)] };
  };
};

function clouds(d: Draw): { x: sp.Tensor; y: sp.Tensor } {
  const dtype = d.dtype();
  const features = d.between(1, 4);
  return {
    x: d.probabilities([d.between(1, 9), features], dtype),
    y: d.probabilities([d.between(1, 9), features], dtype),
  };
}

// Few steps, and nothing printed where they were too few.
const few = { maxIterations: 30 };
const iterations = { ...few, onInfo() {} };

function convolution(d: Draw, axes: number, isTransposed: boolean): Planned {
  const dtype = d.dtype();
  const [groups, each, filters] = [d.between(1, 2), d.between(1, 3), d.between(1, 3)];
  const kernel = Array.from({ length: axes }, () => d.between(1, 3));
  const extent = kernel.map(() => d.between(3, 7));
  const x = d.tensor([d.between(1, 2), groups * each, ...extent], dtype);
  const shape = isTransposed ? [groups * each, filters] : [groups * filters, each];
  const weight = d.tensor([...shape, ...kernel], dtype);
  const bias = d.tensor([groups * filters], dtype);
  const options = { ...d.options({ bias, stride: 2, padding: 1 }), groups };
  return { args: [x, weight, options] };
}

const pool = (axes: number): Maker => {
  return (d) => {
    const extent = Array.from({ length: axes }, () => d.between(3, 7));
    const x = d.tensor([d.between(1, 2), d.between(1, 3), ...extent], d.dtype());
    return { args: [x, d.between(1, 3), d.options({ stride: 2, ceilMode: true })] };
  };
};

function topographic(d: Draw): [sp.Tensor, sp.Tensor] {
  const shape = [d.between(1, 2), d.between(1, 3), d.between(1, 6), d.between(1, 6)];
  const target = d.indices([shape[0], ...shape.slice(2)], Math.max(2, shape[1])).t;
  return [d.probabilities(shape, d.dtype()), target];
}

const logits = (d: Draw) => {
  const dtype = d.dtype();
  const [rows, classes] = [d.between(1, 4), d.between(1, 20)];
  return [d.tensor([rows, classes], dtype), d.tensor([rows, classes], dtype)] as const;
};

const barcodeOptions = (d: Draw) =>
  d.options({
    filtration: d.pick(['sublevel', 'superlevel']),
    padding: d.pick(['none', 'minmax']),
    essential: true,
  });

export const losses: Readonly<Record<string, Maker>> = {
  crossEntropy: (d) => classification(d, (e) => (e.once(2) ? {} : crossEntropyOptions(e))),
  linearCrossEntropy: (d) => {
    const { x, weight, target } = linear(d);
    return { args: [x, weight, target, crossEntropyOptions(d)] };
  },
  linearLogprobs: (d) => {
    const { x, weight, target } = linear(d);
    return { args: [x, weight, target] };
  },
  linearArgmax: (d) => {
    const { x, weight } = linear(d);
    return { args: [x, weight] };
  },
  linearCrossEntropyPartials: (d) => {
    const { x, weight, target } = linear(d);
    return { args: [x, weight, target, { vocabOffset: d.integer(3) }] };
  },
  divergence: (d) => {
    const kind = d.pick(['kl', 'reverseKl', 'jensenShannon']);
    return {
      args: [...logits(d), d.options({ kind, temperature: 2, reduction: d.pick(reductions) })],
    };
  },
  focalLoss: (d) => {
    const shape = d.shape();
    const dtype = d.dtype();
    const target = d.probabilities(shape, dtype).detach();
    return { args: [d.tensor(shape, dtype), target, d.options({ gamma: 1, alpha: 0.3 })] };
  },
  sinkd: (d) => ({ args: [...logits(d), d.options({ temperature: 1, iterations: 3 })] }),
  uldLoss: (d) => ({ args: [...logits(d), d.options({ temperature: 2 })] }),
  emo: (d) => {
    const [rows, classes] = [d.between(1, 4), d.between(2, 20)];
    const dtype = d.dtype();
    const embedding = d.tensor([classes, d.between(1, 5)], dtype).detach();
    const target = d.indices([rows], classes).t;
    return { args: [d.tensor([rows, classes], dtype), target, { embedding }] };
  },
  linearEmo: (d) => {
    const { x, weight, target } = linear(d);
    return { args: [x, weight, target] };
  },
  sinkhornKnopp: (d) => ({
    args: [d.tensor([d.between(1, 6), d.between(1, 6)], d.dtype()), d.options({ iterations: 3 })],
  }),
  sinkhornDivergence: (d) => {
    const { x, y } = clouds(d);
    const options = d.options({ blur: 0.2, p: 1, reach: 1, debias: false });
    return { args: [x, y, { ...iterations, ...options }] };
  },
  sinkhornPotentials: (d) => {
    const { x, y } = clouds(d);
    return { args: [x, y, { ...few, ...d.options({ blur: 0.2, reach: 1 }) }] };
  },
  sinkhorn: (d) => {
    const cost = d.probabilities([d.between(1, 6), d.between(1, 6)], d.dtype());
    return { args: [cost, { ...few, ...d.options({ epsilon: 0.3, rhoA: 1, rhoB: 2 }) }] };
  },
  emd: (d) => ({
    args: d.once(2)
      ? [clouds(d)]
      : [d.probabilities([d.between(1, 6), d.between(1, 6)], d.dtype())],
  }),
  emd1d: (d) => {
    const dtype = d.dtype();
    return {
      args: [
        d.tensor([d.between(1, 9)], dtype),
        d.tensor([d.between(1, 9)], dtype),
        d.options({ p: 1 }),
      ],
    };
  },
  slicedWasserstein: (d) => {
    const { x, y } = clouds(d);
    return { args: [x, y, { projections: d.between(1, 5), seed: d.integer(99) }] };
  },
  hvp: (d) => {
    const x = d.probabilities([4, 2], 'float64');
    return {
      args: [x, d.probabilities([5, 2], 'float64'), d.tensor([4, 2], 'float64'), { blur: 0.3 }],
    };
  },
  diceLoss: overlap((d) =>
    d.options({ smooth: 0.5, squared: true, reduction: d.pick(reductions) }),
  ),
  jaccardLoss: overlap((d) => d.options({ smooth: 0.5, overBatch: true })),
  tverskyLoss: overlap((d) => d.options({ alpha: 0.3, beta: 0.7, exponent: 0.75 })),
  skeletonRecallLoss: overlap((d) => d.options({ radius: 1, background: true }), 2),
  clDice: overlap((d) => d.options({ iterations: 2, diceWeight: 0.5 }), 2),
  softSkeleton: (d) => ({
    args: [d.probabilities(images(d), d.dtype()), d.options({ iterations: 3 })],
  }),
  skeletonize: (d) => ({ args: [d.mask(images(d)).t] }),
  tubedSkeleton: (d) => ({ args: [d.mask(images(d)).t, d.options({ radius: 1 })] }),
  bettiMatchingLoss: (d) => {
    const shape = images(d, 5, 1, 3);
    const dtype = d.dtype();
    const target = d.probabilities(shape, dtype).detach();
    return { args: [d.probabilities(shape, dtype), target, barcodeOptions(d)] };
  },
  topologyLoss: (d) => {
    const shape = images(d, 5, 1, 3);
    const dtype = d.dtype();
    return { args: [d.probabilities(shape, dtype), d.probabilities(shape, dtype).detach()] };
  },
  barcodeLengthLoss: (d) => {
    const shape = images(d, 5, 1, 3);
    const bettiNumbers = shape.slice(2).map(() => d.integer(3));
    return { args: [d.probabilities(shape, d.dtype()), { bettiNumbers }] };
  },
  bettiMatching: (d) => {
    const shape = images(d, 5, 1, 3).slice(2);
    const dtype = d.dtype();
    return {
      args: [d.probabilities(shape, dtype), d.probabilities(shape, dtype), barcodeOptions(d)],
    };
  },
  bettiMatchingBatch: (d) => {
    const shape = images(d, 4, 1, 3);
    const dtype = d.dtype();
    return { args: [d.probabilities(shape, dtype), d.probabilities(shape, dtype)] };
  },
  persistenceBarcode: (d) => ({
    args: [d.probabilities(images(d, 5, 1, 3).slice(2), d.dtype()), barcodeOptions(d)],
  }),
  topographLoss: (d) => ({
    args: [...topographic(d), d.options({ connectivity: 4, sphere: true })],
  }),
  diuError: (d) => ({ args: topographic(d) }),
  warpingLoss: (d) => ({ args: [...topographic(d), d.options({ connectivity: 'corners' })] }),
  regionWiseLoss: (d) => ({ args: topographic(d) }),
  regionWiseMap: (d) => ({ args: [d.mask(images(d, 6, 1, 3)).t, d.options({ outside: 2 })] }),
  conv2d: (d) => convolution(d, 2, false),
  conv3d: (d) => convolution(d, 3, false),
  convTranspose2d: (d) => convolution(d, 2, true),
  convTranspose3d: (d) => convolution(d, 3, true),
  maxPool2d: pool(2),
  maxPool3d: pool(3),
  avgPool2d: pool(2),
  avgPool3d: pool(3),
  interpolate: (d) => ({
    args: [
      d.tensor([1, d.between(1, 2), ...d.shape(1, 3, 5).map((n) => n + 1)], d.dtype()),
      d.once(2) ? { size: d.between(1, 9) } : { scaleFactor: 2, mode: 'linear' },
    ],
  }),
  barycentricMap: (d) => {
    const [n, m] = [d.between(1, 6), d.between(1, 6)];
    const plan = sp.sinkhorn(sp.rand([n, m], { dtype: 'float64' }), {
      ...few,
      epsilon: 0.5,
    });
    return { args: [plan, d.tensor([m, 2], 'float64')], isRandom: true };
  },
  mergePartials: (d) => {
    const { x, weight, target } = linear(d);
    const partials = sp.linearCrossEntropyPartials(x as never, weight as never, target as never, {
      vocabOffset: 0,
    });
    return { args: [[partials]] };
  },
  gradcheck: (d) => {
    const x = sp.tensor([...d.normals(3)], { dtype: 'float64', requiresGrad: true });
    return { args: [(t: sp.Tensor) => t.mul(t).sum(), [x]] };
  },
  grad: (d) => {
    const x = sp.tensor([...d.normals(3)], { requiresGrad: true });
    return { args: [[x.mul(x).sum()], [x]] };
  },
  clipGradNorm: (d) => {
    const x = sp.tensor([...d.normals(sizeOf(d.shape()))], { requiresGrad: true });
    x.mul(x).sum().backward();
    return { args: [[x], d.uniform(0.1, 2)], isRandom: true };
  },
};
