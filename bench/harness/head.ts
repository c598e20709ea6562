// Inputs of the logit-free losses, as PyTorch's side makes them, and one training step on them.
import * as sp from '../../src/index.js';
import { classes, normal } from './data.js';

export type Float = 'float32' | 'bfloat16';
/** N, D, V. */
export type Shape = [n: number, d: number, v: number];

export interface Head {
  x: sp.Tensor<sp.FloatDType>;
  weight: sp.Tensor<sp.FloatDType>;
  target: sp.Tensor<sp.IndexDType>;
  bias?: sp.Tensor<sp.FloatDType>;
}

export function makeHead([n, d, v]: Shape, dtype: Float, seed: number): Head {
  const leaf = (data: Float32Array, shape: number[]) =>
    sp.tensor(data, { dtype, shape, requiresGrad: true });
  return {
    x: leaf(normal(seed, n * d, 1), [n, d]),
    weight: leaf(normal(seed + 1, v * d, d ** -0.5), [v, d]),
    target: sp.tensor(classes(seed + 2, n, v)),
  };
}

/** The loss, after its gradients have reached x and weight. */
export function lossAndGradients(
  { x, weight, target, bias }: Head,
  options?: sp.LinearCrossEntropyOptions,
): sp.Tensor {
  const loss = sp.linearCrossEntropy(x, weight, target, { ...options, bias });
  loss.backward();
  return loss;
}
