// Probabilities of maps of logits [B, C, ...spatial], for losses whose kernels take probabilities, and the
// way back: that of a sigmoid goes element by element, which kernels do themselves, that of a softmax
// does not.
import { noGrad } from './autograd.js';
import { accumulatorOf, type FloatDType } from './dtype.js';
import { sigmoid } from './ops/activation.js';
import { to } from './ops/cast.js';
import { softmax, softmaxGradient } from './ops/softmax.js';
import type { Activation } from './targets.js';
import type { Tensor } from './tensor.js';

export function probabilitiesOf(maps: Tensor, how: Activation): Tensor {
  if (how === 'none') return maps;
  return noGrad(() => (how === 'sigmoid' ? sigmoid(maps) : softmax(maps, { dim: 1 })));
}

/** The softmax of maps of any float dtype, in float32, or float64 for float64. */
export const wideSoftmax = (maps: Tensor<FloatDType>) =>
  noGrad(() => probabilitiesOf(to(maps, accumulatorOf(maps.dtype)), 'softmax'));

/** The gradient by logits of `dtype` from the one by their softmax. */
export function throughSoftmax(probability: Tensor, gradient: Tensor, dtype: FloatDType): Tensor {
  return noGrad(() => to(softmaxGradient(probability, gradient, 1), dtype));
}

/** What a loss keeps of its prediction. */
export interface ByPrediction {
  dtype: FloatDType;
  activation: Activation;
  /** Where the prediction holds logits, in the dtype that was computed in. */
  probability?: Tensor;
}

/** The gradient by the prediction: `make` computes one of a dtype, times p (1 - p) where p is given. */
export function byLogits(
  { dtype, activation, probability }: ByPrediction,
  make: (dtype: FloatDType, p?: Tensor) => Tensor,
): Tensor {
  if (activation !== 'softmax') return make(dtype, probability);
  return throughSoftmax(probability!, make(probability!.dtype as FloatDType), dtype);
}
