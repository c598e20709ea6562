// What losses of segmentations take beside maps of classes [B, C, ...spatial], the rules of all:
//   class indices [B, ...spatial], int32 or int64: each class against the rest, and `ignoreIndex`,
//     where the loss has it; beside a single channel 0 and 1, the channel being class 1
//   masks [B, C, ...spatial], one-hot or probabilities: bool, uint8 or the maps' dtype
//   `fromLogits`: what makes probabilities of the maps; `true` is what the loss says
//   `background: false`: channel 0 does not count, for which there has to be another
import { type DType, floats } from './dtype.js';
import {
  expectBoolean,
  expectDType,
  expectNumber,
  expectOnCpu,
  expectShape,
  fail,
  nearest,
  show,
  showShape,
} from './expect.js';
import { to } from './ops/cast.js';
import { eq } from './ops/comparison.js';
import { reshape, unsqueeze } from './ops/shape-ops.js';
import { arange } from './patterns.js';
import { sizeOf } from './shape.js';
import type { Tensor } from './tensor.js';

export interface MapsAndTarget {
  maps: Tensor;
  /** What errors call the maps; default 'prediction'. */
  name?: string;
  target: Tensor;
}

export interface Form {
  /** The maps' shape in words, and their least and greatest number of spatial axes. */
  shape: string;
  axes: readonly [least: number, most: number];
}

/** Whether the target holds class indices. */
export const hasClassIndices = ({ maps, target }: MapsAndTarget) => target.rank === maps.rank - 1;

/** Whether a target without maps does. */
export const isClassIndex = (dtype: DType) => dtype === 'int32' || dtype === 'int64';

/** The dtypes of masks beside maps of a dtype. */
export const maskDTypes = (maps: DType): DType[] => [maps, 'bool', 'uint8'];

/** Betti functions, which take masks of any dtype, take class indices of uint8, too. */
export const hasIntegerIndices = (t: MapsAndTarget) =>
  hasClassIndices(t) && (isClassIndex(t.target.dtype) || t.target.dtype === 'uint8');

/** `words`: the dtypes of class indices, which a target of their shape that has another is told of. */
export function checkTargetShape(
  op: string,
  t: MapsAndTarget,
  hasIndices: boolean,
  words?: string,
): void {
  const { maps, name = 'prediction', target } = t;
  const [batch, , ...spatial] = maps.shape;
  const like = `${name} ${showShape(maps.shape)}`;
  const told = words && hasClassIndices(t) ? `; class indices are ${words}` : '';
  if (hasIndices)
    expectShape(op, 'target', target, [batch, ...spatial], `class indices of ${like}`);
  else expectShape(op, 'target', target, maps.shape, `like ${like}${told}`);
}

/** Refuses dtypes, saying what the target is taken for by its shape and what else it might be. */
function checkTargetDType(op: string, { maps, name = 'prediction', target }: MapsAndTarget): void {
  const [batch, , ...spatial] = maps.shape;
  const hasIndices = hasClassIndices({ maps, target });
  const dtypes: DType[] = hasIndices ? ['int32', 'int64'] : maskDTypes(maps.dtype);
  if (dtypes.includes(target.dtype)) return;
  const like = `${name} ${showShape(maps.shape)}`;
  const [is, other] = hasIndices
    ? [`class indices of ${like}`, `masks have shape ${showShape(maps.shape)}`]
    : [`masks like ${like}`, `class indices have shape ${showShape([batch, ...spatial])}`];
  const got = `${target.dtype} ${showShape(target.shape)}`;
  fail(
    op,
    'ERR_DTYPE',
    `expected target to be ${dtypes.join(' or ')} (${is}; ${other}), got ${got}`,
  );
}

/** Refuses maps and targets that a loss on the CPU does not take. */
export function checkMaps(op: string, t: MapsAndTarget, form?: Form): void {
  const { maps, name = 'prediction' } = t;
  expectOnCpu(op, name, maps);
  expectDType(op, name, maps, floats);
  const { shape, rank } = maps;
  const [least, most] = form?.axes ?? [0, Infinity];
  if (rank < 2 + least || rank > 2 + most || shape[1] === 0) {
    const wanted = `${form?.shape ?? '[B, C, ...spatial]'} with at least one channel`;
    fail(op, 'ERR_SHAPE', `expected ${name} to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const voxels = sizeOf(shape.slice(2));
  if (form && voxels > 2 ** 30)
    fail(op, 'ERR_SHAPE', `expected at most 2^30 voxels an image, got ${voxels}`);
  checkTargetDType(op, t);
  checkTargetShape(op, t, hasClassIndices(t));
}

/** Refuses a background that is all there is. */
export function checkBackground(op: string, maps: Tensor, background: unknown = true): void {
  expectBoolean(op, 'background', background);
  if (background || maps.shape[1] !== 1) return;
  const got = `prediction ${showShape(maps.shape)}`;
  const wanted = 'more than one channel where background is false';
  fail(op, 'ERR_INVALID_VALUE', `expected ${wanted}, got ${got}`);
}

/** That of `crossEntropy`. */
export const defaultIgnoreIndex = -100;

/** Refuses one that a mask could hold beside masks, too, in which it would have no effect. */
export function checkIgnoreIndex(op: string, ignoreIndex: unknown, hasIndices: boolean): void {
  if (ignoreIndex === undefined) return;
  expectNumber(op, 'ignoreIndex', ignoreIndex, { integer: true });
  if (hasIndices || (ignoreIndex as number) < 0) return;
  const got = `${ignoreIndex} beside masks`;
  fail(op, 'ERR_INVALID_VALUE', `expected ignoreIndex beside class indices only, got ${got}`);
}

/** `true`: what a loss takes by default for logits. */
export type FromLogits = boolean | 'sigmoid' | 'softmax';

/** In the order of core/labels.h. */
const activations = ['none', 'sigmoid', 'softmax'] as const;
export type Activation = (typeof activations)[number];

/** Refuses all but what `FromLogits` lists; without channels (`maps` undefined) also 'softmax'. */
export function checkFromLogits(op: string, fromLogits: unknown = false, maps?: Tensor): void {
  const words = maps ? ['sigmoid', 'softmax'] : ['sigmoid'];
  if (typeof fromLogits !== 'boolean' && !words.includes(fromLogits as string)) {
    const isWord = typeof fromLogits === 'string';
    const quoted = words.map((word) => `'${word}'`);
    const wanted = maps ? `true, false, ${quoted.join(' or ')}` : `true, false or ${quoted[0]}`;
    const meant = isWord ? nearest(fromLogits, words) : undefined;
    fail(
      op,
      isWord ? 'ERR_INVALID_VALUE' : 'ERR_INVALID_TYPE',
      `expected fromLogits to be ${wanted}, got ${show(fromLogits)}` +
        (meant ? ` (did you mean '${meant}'?)` : ''),
    );
  }
  if (fromLogits !== 'softmax' || maps?.shape[1] !== 1) return;
  const wanted = "more than one channel where fromLogits is 'softmax', which is 1 of a single one";
  fail(op, 'ERR_INVALID_VALUE', `expected ${wanted}, got prediction ${showShape(maps.shape)}`);
}

/** What makes probabilities of the maps; `usual` is what `true` stands for. */
export function activationOf(
  fromLogits: FromLogits | undefined,
  usual: 'sigmoid' | 'softmax' = 'sigmoid',
): Activation {
  if (!fromLogits) return 'none';
  return fromLogits === true ? usual : fromLogits;
}

/** As native code takes it. */
export const activationNumber = (how: Activation) => activations.indexOf(how);

/** The softmax over channels, of a single one the sigmoid. */
export const usualOf = (maps: Tensor) => (maps.shape[1] === 1 ? 'sigmoid' : 'softmax');

/** [B, C, ...spatial] of whether each voxel of class indices is of the channel's class. */
export function masksOf(indices: Tensor, channels: number): Tensor {
  const { shape, dtype, device } = indices;
  const first = channels === 1 ? 1 : 0;
  const each = to(arange(first, first + channels, { device }), dtype);
  const ones = shape.slice(1).map(() => 1);
  return eq(unsqueeze(indices, 1), reshape(each, [1, channels, ...ones]));
}
