// How the general operations are called: by name, with their definitions where the harness has them.
import * as sp from '../../src/index.js';
import * as arrays from '../reference/arrays.js';
import { cdist } from '../reference/cdist.js';
import * as elementwise from '../reference/elementwise.js';
import * as order from '../reference/order.js';
import * as reduce from '../reference/reduce.js';
import { type Draw, type Maker, type Planned, sizeOf, wrapped } from './draw.js';

const unaries = Object.keys(elementwise.unary).filter((name) => name in sp);
const positives = ['sqrt', 'rsqrt', 'log', 'log1p'];

const unary = (name: string): Maker => {
  const f = elementwise.unary[name];
  return (d) => {
    const draw = positives.includes(name) ? () => d.uniform(0.1, 9) : undefined;
    const { t, a } = d.floats(d.shape(), d.dtype(), draw);
    return { args: [t], expected: () => a.values.map(f) };
  };
};

/** Two operands that broadcast: axes shrunk to 1 or left out in front. */
function operands(d: Draw) {
  const whole = d.shape(0, 4, 4);
  const part = () => whole.map((n) => (d.once(4) ? 1 : n)).slice(d.once(3) ? d.integer(3) : 0);
  const [left, right] = [part(), part()];
  const common = elementwise.broadcastShape(left, right);
  const values = (a: arrays.Arr) => {
    const places = elementwise.broadcastIndex(a.shape, common);
    return places.map((place) => a.values[place]);
  };
  return { left, right, values };
}

const binary = (f: (a: number, b: number) => number | boolean, isPositive = false): Maker => {
  return (d) => {
    const dtype = d.dtype();
    const { left, right, values } = operands(d);
    const draw = isPositive ? () => d.uniform(0.2, 3) : undefined;
    const [x, y] = [d.floats(left, dtype, draw), d.floats(right, dtype, draw)];
    const expected = () => {
      const b = values(y.a);
      return values(x.a).map((v, i) => Number(f(v, b[i])));
    };
    return { args: [x.t, y.t], expected };
  };
};

/** Over some axes of the argument; `f` is of one group. */
const reduction = (f: (x: number[]) => number, hasDefault = true, extra = {}): Maker => {
  return (d) => {
    const { t, a } = d.floats(d.shape(1, 4), d.dtype());
    const rank = a.shape.length;
    const dims = Array.from({ length: rank }, (_, i) => i).filter(() => d.once(2));
    const dim = dims.length === 0 ? [d.integer(rank)] : dims;
    const isAll = hasDefault && d.once(4);
    const axes = isAll ? a.shape.map((_, i) => i) : dim;
    const options = { ...(isAll ? {} : { dim }), ...d.options({ keepDim: true }), ...extra };
    return {
      args: [t, options],
      expected: () => reduce.groups(a.values as never, a.shape, axes).map(f),
      scale: 4 + a.values.reduce((sum, v) => sum + Math.abs(v), 0),
    };
  };
};

/** Along one axis, of the argument's shape. */
const rows = (f: (x: number[]) => number[]): Maker => {
  return (d) => {
    const { t, a } = d.floats(d.shape(1, 4), d.dtype());
    const expected = () => {
      const size = a.shape.at(-1)!;
      const out: number[] = [];
      for (let i = 0; i < a.values.length; i += size) out.push(...f(a.values.slice(i, i + size)));
      return out;
    };
    return { args: [t], expected, scale: 8 };
  };
};

const creation = (extra: (d: Draw) => unknown[] = () => []): Maker => {
  return (d) => ({
    args: [d.shape(), ...extra(d), d.options({ dtype: d.pick(['float32', 'float64']) })],
    isRandom: true,
  });
};

function matmul(d: Draw): Planned {
  const dtype = d.dtype();
  const [m, k, n] = [d.size(), d.size(), d.size()];
  const batch = d.once(2) ? [] : d.shape(1, 2, 3);
  const [x, y] = [
    d.floats([...batch, m, k], dtype),
    d.floats([...(d.once(2) ? batch : []), k, n], dtype),
  ];
  return { args: [x.t, y.t], expected: () => arrays.matmul(x.a, y.a), scale: 4 * (k + 1) };
}

const shaped = (name: string, make: (d: Draw, a: arrays.Arr, t: sp.Tensor) => Planned): Maker => {
  return (d) => {
    const { t, a } = d.floats(d.shape(name === 'tril' || name === 'triu' ? 2 : 1, 4, 4), d.dtype());
    return make(d, a, t);
  };
};

function permuted(d: Draw, a: arrays.Arr, t: sp.Tensor): Planned {
  const dims = [...d.permutation(a.shape.length)];
  return { args: [t, dims], expected: () => arrays.permute(a, dims) };
}

function sliced(d: Draw, a: arrays.Arr, t: sp.Tensor): Planned {
  const dim = d.axis(a.shape.length);
  const n = a.shape[wrapped(dim, a.shape.length)];
  const start = d.integer(n + 1);
  const end = d.between(start, n);
  const step = d.between(1, 3);
  const count = Math.ceil((end - start) / step);
  return {
    args: [t, dim, start, end, step],
    expected: () => arrays.slice(a, wrapped(dim, a.shape.length), start, count, step),
  };
}

function padded(d: Draw, a: arrays.Arr, t: sp.Tensor): Planned {
  const amounts = a.shape.map(() => [d.integer(3), d.integer(3)]);
  const flat = [...amounts].reverse().flat();
  return { args: [t, flat, { value: 2 }], expected: () => arrays.pad(a, amounts, 2) };
}

const triangle = (lower: boolean) => (d: Draw, a: arrays.Arr, t: sp.Tensor) => {
  const diagonal = d.between(-2, 2);
  return { args: [t, diagonal], expected: () => arrays.triangle(a, diagonal, lower) };
};

function joined(d: Draw): Planned {
  const dtype = d.dtype();
  const shape = d.shape(1, 3);
  const dim = d.integer(shape.length);
  const parts = Array.from({ length: d.between(1, 4) }, () =>
    d.floats(
      shape.map((n, i) => (i === dim ? d.size() : n)),
      dtype,
    ),
  );
  const list = parts.map(({ a }) => a);
  return { args: [parts.map(({ t }) => t), { dim }], expected: () => arrays.concat(list, dim) };
}

function stacked(d: Draw): Planned {
  const dtype = d.dtype();
  const shape = d.shape(0, 3);
  const dim = d.integer(shape.length + 1);
  const parts = Array.from({ length: d.between(1, 4) }, () => d.floats(shape, dtype));
  const list = parts.map(({ a }) => a);
  return { args: [parts.map(({ t }) => t), { dim }], expected: () => arrays.stack(list, dim) };
}

function gathered(d: Draw): Planned {
  const { t, a } = d.floats(d.shape(1, 3), d.dtype());
  const dim = d.integer(a.shape.length);
  const shape = a.shape.map((n, i) => (i === dim ? d.size() : n));
  const index = d.indices(
    a.shape[dim] === 0 ? shape.map((n, i) => (i === dim ? 0 : n)) : shape,
    a.shape[dim],
  );
  return { args: [t, dim, index.t], expected: () => arrays.gather(a, dim, index.a) };
}

function scattered(d: Draw): Planned {
  const dtype = d.dtype();
  const { t, a } = d.floats(d.shape(1, 3), dtype);
  const dim = d.integer(a.shape.length);
  const shape = a.shape.map((n, i) => (i === dim ? (n === 0 ? 0 : d.size()) : n));
  const index = d.indices(shape, a.shape[dim]);
  const source = d.floats(shape, dtype);
  return {
    args: [t, dim, index.t, source.t],
    expected: () => arrays.scatterAdd(a, dim, index.a, source.a),
    scale: 4 + sizeOf(shape),
  };
}

function selected(d: Draw): Planned {
  const { t, a } = d.floats(d.shape(1, 3), d.dtype());
  const dim = d.integer(a.shape.length);
  const index = d.indices([a.shape[dim] === 0 ? 0 : d.size()], a.shape[dim]);
  return { args: [t, dim, index.t], expected: () => arrays.indexSelect(a, dim, index.a.values) };
}

function filled(d: Draw): Planned {
  const { t, a } = d.floats(d.shape(0, 3), d.dtype());
  const values = [...d.fill(a.values.length, () => d.integer(2))];
  const mask = sp.tensor(values, { dtype: 'bool', shape: a.shape });
  const whole = { shape: a.shape, values };
  return { args: [t, mask, 3], expected: () => arrays.maskedFill(a, whole, 3) };
}

function sorted(d: Draw): Planned {
  const { t } = d.floats(d.shape(1, 3), d.dtype());
  const options = d.options({ dim: d.axis(t.rank), descending: true, stable: true });
  return { args: [t, options] };
}

function running(d: Draw): Planned {
  const { t, a } = d.floats(d.shape(1, 3), d.dtype());
  const dim = d.axis(a.shape.length);
  const scale = 4 + a.values.reduce((sum, v) => sum + Math.abs(v), 0);
  const expected = () => order.cumsum(a, wrapped(dim, a.shape.length));
  return { args: [t, { dim }], expected, scale };
}

function distances(d: Draw): Planned {
  const dtype = d.dtype();
  const size = d.size();
  const [x, y] = [d.floats([d.size(), size], dtype), d.floats([d.size(), size], dtype)];
  const p = d.pick([0, 1, 2, 3, Infinity]);
  return { args: [x.t, y.t, { p }], expected: () => cdist(x.a, y.a, p), scale: 4 * (size + 1) };
}

function normal(name: 'layerNorm' | 'rmsNorm'): Maker {
  return (d) => {
    const { t, a } = d.floats(d.shape(1, 3), d.dtype());
    const size = a.shape.at(-1)!;
    const one = Array.from({ length: size }, () => 1);
    const zero = one.map(() => 0);
    const expected = () => {
      const out: number[] = [];
      for (let i = 0; i < a.values.length; i += size) {
        const row = a.values.slice(i, i + size);
        out.push(
          ...(name === 'layerNorm'
            ? reduce.layerNorm(row, one, zero, 1e-2)
            : reduce.rmsNorm(row, one, 1e-2)),
        );
      }
      return out;
    };
    return { args: [t, { eps: 1e-2 }], expected, scale: 64 };
  };
}

const like: Record<string, (d: Draw) => Planned> = {
  clamp: (d) => ({ args: [d.tensor(d.shape(), d.dtype()), d.options({ min: -0.5, max: 0.5 })] }),
  square: (d) => ({ args: [d.tensor(d.shape(), d.dtype())] }),
  isNaN: (d) => ({ args: [d.tensor(d.shape(), d.dtype())] }),
  logicalNot: (d) => ({ args: [d.mask(d.shape()).t] }),
  where: (d) => {
    const shape = d.shape();
    const dtype = d.dtype();
    const flags = sp.gt(sp.rand(shape), 0.5);
    return { args: [flags, d.tensor(shape, dtype), d.once(3) ? 0.5 : d.tensor(shape, dtype)] };
  },
  dropout: (d) => ({
    args: [d.tensor(d.shape(), d.dtype()), d.options({ p: 0.3, training: false })],
    isRandom: true,
  }),
  reshape: (d) => {
    const t = d.tensor(d.shape(), d.dtype());
    return { args: [t, d.once(2) && t.size > 0 ? [-1] : [t.size]] };
  },
  transpose: (d) => {
    const t = d.tensor(d.shape(2, 4), d.dtype());
    return { args: [t, d.axis(t.rank), d.axis(t.rank)] };
  },
  squeeze: (d) => ({ args: [d.tensor([1, ...d.shape(0, 2), 1], d.dtype())] }),
  unsqueeze: (d) => {
    const t = d.tensor(d.shape(0, 3), d.dtype());
    return { args: [t, d.integer(t.rank + 1)] };
  },
  expand: (d) => {
    const shape = d.shape(1, 3);
    return {
      args: [
        d.tensor(
          shape.map((n) => (d.once(3) ? 1 : n)),
          d.dtype(),
        ),
        shape,
      ],
    };
  },
  split: (d) => {
    const t = d.tensor(d.shape(1, 3), d.dtype());
    return { args: [t, d.between(1, 4), d.axis(t.rank)] };
  },
  embedding: (d) => {
    const count = d.between(1, 9);
    return { args: [d.tensor([count, d.size()], d.dtype()), d.indices(d.shape(0, 3), count).t] };
  },
  oneHot: (d) => ({ args: [d.indices(d.shape(0, 3), 5).t, 5] }),
  to: (d) => ({ args: [d.tensor(d.shape(), d.dtype()), d.dtype()] }),
  clone: (d) => ({ args: [d.tensor(d.shape(), d.dtype())] }),
  topk: (d) => {
    const t = d.tensor(d.shape(1, 3), d.dtype());
    const dim = d.axis(t.rank);
    const n = t.shape[wrapped(dim, t.rank)];
    return { args: [t, d.integer(n + 1), d.options({ dim, largest: false })] };
  },
  normalize: (d) => ({ args: [d.tensor(d.shape(1, 3), d.dtype()), d.options({ p: 3, dim: 0 })] }),
  arange: (d) => ({ args: [d.between(-3, 3), d.between(3, 40), d.uniform(0.3, 2)] }),
  linspace: (d) => ({ args: [d.normal(), d.normal(), d.size()] }),
  eye: (d) => ({ args: [d.size(), d.size()] }),
  randint: (d) => ({ args: [0, d.between(1, 100), d.shape()], isRandom: true }),
  tensor: (d) => ({ args: [Array.from(d.normals(d.size())), { dtype: d.dtype() }] }),
  groupNorm: (d) => {
    const [groups, each] = [d.between(1, 3), d.between(1, 3)];
    return { args: [d.tensor([d.size(), groups * each, ...d.shape(0, 2)], d.dtype()), groups] };
  },
  batchNorm: (d) => ({
    args: [
      d.tensor([d.between(2, 5), d.between(1, 4), ...d.shape(0, 2)], d.dtype()),
      { training: true },
    ],
  }),
};

const extremes = ['max', 'min', 'argmax', 'argmin'] as const;

function extreme(d: Draw): Planned {
  const t = d.tensor(d.shape(1, 3), d.dtype());
  return { args: [t, d.options({ dim: d.axis(t.rank), keepDim: true })] };
}

export const general: Readonly<Record<string, Maker>> = {
  ...Object.fromEntries(unaries.map((name) => [name, unary(name)])),
  ...Object.fromEntries(
    Object.entries({ ...elementwise.binary, ...elementwise.comparison })
      .filter(([name]) => !name.startsWith('logical'))
      .map(([name, f]) => [name, binary(f, name === 'pow')]),
  ),
  ...Object.fromEntries(
    ['logicalAnd', 'logicalOr'].map((name) => [
      name,
      (d: Draw) => {
        const shape = d.shape();
        const [a, b] = [0, 1].map(() => sp.gt(sp.rand(shape), 0.5));
        return { args: [a, b], isRandom: true };
      },
    ]),
  ),
  ...Object.fromEntries(extremes.map((name) => [name, extreme])),
  sum: reduction(reduce.sum),
  mean: reduction(reduce.mean),
  var: reduction((x) => reduce.variance(x, 0), true, { correction: 0 }),
  std: reduction((x) => Math.sqrt(reduce.variance(x, 0)), true, { correction: 0 }),
  logsumexp: reduction(reduce.logsumexp, false),
  norm: reduction((x) => reduce.norm(x, 1), true, { p: 1 }),
  softmax: rows(reduce.softmax),
  logSoftmax: rows(reduce.logSoftmax),
  layerNorm: normal('layerNorm'),
  rmsNorm: normal('rmsNorm'),
  matmul,
  permute: shaped('permute', permuted),
  slice: shaped('slice', sliced),
  pad: shaped('pad', padded),
  tril: shaped('tril', triangle(true)),
  triu: shaped('triu', triangle(false)),
  concat: joined,
  stack: stacked,
  gather: gathered,
  scatterAdd: scattered,
  indexSelect: selected,
  maskedFill: filled,
  sort: sorted,
  cumsum: running,
  cdist: distances,
  zeros: creation(),
  ones: creation(),
  full: creation((d) => [d.normal()]),
  rand: creation(),
  randn: creation(),
  ...like,
};
