// Analytic gradients against float64 central differences.
import { noGrad } from './autograd.js';
import { grad } from './backward.js';
import { tensor } from './create.js';
import { errorOf, expectFunction, expectNumber, expectOptions, fail, show } from './expect.js';
import { expectTensor, Tensor } from './tensor.js';

/** Options of `gradcheck`. */
export interface GradcheckOptions {
  /** Step of the differences (default 1e-6). */
  eps?: number | undefined;
  /** Absolute tolerance (default 1e-5). */
  atol?: number | undefined;
  /** Relative tolerance (default 1e-3). */
  rtol?: number | undefined;
}

/**
 * Compares the gradient of `fn` with central differences, (f(x+eps) - f(x-eps)) / 2eps, for every
 * element of every float64 input that requires a gradient. An output that is not a scalar is
 * weighted by fixed pseudo-random numbers, so that errors cannot cancel. Throws on a mismatch.
 */
export function gradcheck(
  // biome-ignore lint/suspicious/noExplicitAny: any differentiable function of tensors
  fn: (...inputs: any[]) => Tensor | readonly Tensor[] | Readonly<Record<string, Tensor>>,
  inputs: readonly Tensor[],
  options: GradcheckOptions = {},
): true {
  expectFunction('gradcheck', 'fn', fn);
  if (!Array.isArray(inputs)) {
    fail(
      'gradcheck',
      'ERR_INVALID_TYPE',
      `expected inputs to be an array of tensors, got ${show(inputs)}`,
    );
  }
  expectOptions('gradcheck', options, ['eps', 'atol', 'rtol']);
  const { eps = 1e-6, atol = 1e-5, rtol = 1e-3 } = options;
  expectNumber('gradcheck', 'eps', eps, { above: 0 });
  expectNumber('gradcheck', 'atol', atol, { min: 0 });
  expectNumber('gradcheck', 'rtol', rtol, { min: 0 });
  const wanted = inputs.filter((x, i) => {
    expectTensor('gradcheck', `inputs[${i}]`, x);
    if (x.requiresGrad && x.dtype !== 'float64') {
      fail('gradcheck', 'ERR_DTYPE', `expected inputs[${i}] to be float64, got ${x.dtype}`);
    }
    return x.requiresGrad;
  });
  if (wanted.length === 0)
    fail('gradcheck', 'ERR_GRAPH', 'expected an input that requires a gradient');
  const outputs = outputsOf(fn(...inputs));
  const used = [...outputs.keys()].filter((k) => outputs[k].requiresGrad);
  if (used.length === 0) fail('gradcheck', 'ERR_GRAPH', 'the outputs do not depend on the inputs');
  const weights = used.map((k) => {
    const { size, shape, dtype, device } = outputs[k];
    const values = Float64Array.from({ length: size }, (_, i) => weight(i, k));
    return tensor(values, { shape, dtype, device });
  });
  const analytic = grad(
    used.map((k) => outputs[k]),
    wanted,
    { gradOutputs: weights, allowUnused: true },
  );
  const value = (i: number, e: number, x: number): number => {
    const shifted = inputs.map((t) => (t === wanted[i] ? moved(t, e, x) : t));
    const all = noGrad(() => outputsOf(fn(...shifted)));
    return used.reduce((sum, k, j) => sum + dot(all[k], weights[j]), 0);
  };
  for (const [i, x] of wanted.entries()) {
    const expected = analytic[i]?.dataSync() as Float64Array | undefined;
    const at = x.dataSync() as Float64Array;
    for (let e = 0; e < x.size; e++) {
      const numeric = (value(i, e, at[e] + eps) - value(i, e, at[e] - eps)) / (2 * eps);
      const given = expected ? expected[e] : 0;
      if (Math.abs(given - numeric) <= atol + rtol * Math.abs(numeric)) continue;
      throw errorOf(
        'ERR_GRAPH',
        `gradcheck: element ${e} of input ${inputs.indexOf(x)} has gradient ${given}, central differences give ${numeric}`,
      );
    }
  }
  return true;
}

function outputsOf(result: ReturnType<Parameters<typeof gradcheck>[0]>): Tensor[] {
  if (result instanceof Tensor) return [result];
  const outputs = Object.values(result ?? {});
  if (outputs.length === 0) {
    fail('gradcheck', 'ERR_INVALID_TYPE', `expected fn to return tensors, got ${show(result)}`);
  }
  for (const output of outputs) expectTensor('gradcheck', "fn's result", output);
  return outputs;
}

/** Fixed weights in [0.5, 1.5) without a pattern that could hide an error. */
function weight(i: number, k: number): number {
  return 0.5 + ((((i * 0.6180339887498949 + k * 0.7548776662466927) % 1) + 1) % 1);
}

function moved(t: Tensor, element: number, value: number): Tensor {
  const data = t.dataSync() as Float64Array;
  data[element] = value;
  return tensor(data, { shape: t.shape, dtype: 'float64', device: t.device });
}

function dot(y: Tensor, weights: Tensor): number {
  const a = y.dataSync() as Float64Array;
  const b = weights.dataSync() as Float64Array;
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += Number(a[i]) * Number(b[i]);
  return sum;
}
