// Results and gradients at the corners of the options against numbers that torch gave in float64
// (test/harness/golden/make_general.py).
import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';
import * as sp from '../../src/index.js';
import { sizeOf } from '../harness/arrays.js';
import { expectWithin } from '../harness/compare.js';
import { type AnyTensor, gradOf, read } from '../harness/tensors.js';

interface Case {
  op: string;
  shapes: number[][];
  tensors: Record<string, number[]>;
  options: Record<string, unknown>;
  shape: number[];
  values: number[];
  indices?: number[];
  gradients: number[][];
}

const path = new URL('../harness/golden/general.jsonl', import.meta.url);
const [, ...lines] = readFileSync(path, 'utf8').trim().split('\n');
const cases = lines.map((line) => JSON.parse(line) as Case);

/** `fill` of make_general.py. */
function fill(shape: number[], seed: number, requiresGrad = true): AnyTensor {
  const values = Float64Array.from({ length: sizeOf(shape) }, (_, i) => {
    return ((Math.floor(((i + 1) * (7919 + 104729 * seed)) / 31) % 512) - 256) / 64;
  });
  return sp.tensor(values, { shape, requiresGrad }) as AnyTensor;
}

// biome-ignore lint/suspicious/noExplicitAny: operations of every signature
const functions = sp as unknown as Record<string, (...args: any[]) => any>;

test.each([...new Set(cases.map(({ op }) => op))])('%s as torch', (op) => {
  for (const one of cases.filter((c) => c.op === op)) {
    const name = `${op} ${JSON.stringify(one.options)}`;
    const inputs = one.shapes.map((shape, i) => fill(shape, i));
    const named = Object.entries(one.tensors).map(([k, s], i) => [k, fill(s, 10 + i)] as const);
    const options = { ...one.options, ...Object.fromEntries(named) };
    if (options.p === 'Infinity') Object.assign(options, { p: Infinity });
    const result = functions[op](...inputs, options);
    const y: AnyTensor = one.indices ? result.values : result;
    expect(y.shape, name).toEqual(one.shape);
    const near = (values: number[]) => {
      const limit = 1e-10 * values.reduce((a, b) => Math.max(a, Math.abs(b)), 1e-2);
      return () => limit;
    };
    expectWithin(read(y), one.values, near(one.values), name);
    if (op === 'sort') expect([...result.indices.dataSync()], name).toEqual(one.indices);
    y.backward(fill(one.shape, 20, false) as never);
    // topk's choice among equals is torch's own.
    if (op === 'topk') continue;
    for (const [i, t] of [...inputs, ...named.map(([, t]) => t)].entries()) {
      expectWithin(read(gradOf(t)), one.gradients[i], near(one.gradients[i]), `${name} d${i}`);
    }
  }
});
