// Maps of classes [B, C, ...spatial] beside class indices [B, ...spatial] or masks like the maps: the
// checks of losses that tell classes apart before they compare them.
import { floats } from './dtype.js';
import { expectDType, expectOnCpu, expectShape, fail, showShape } from './expect.js';
import type { Tensor } from './tensor.js';

export interface ClassImages {
  /** The maps; `name` says what they are called. */
  maps: Tensor;
  name: string;
  target: Tensor;
}

/** Whether the target holds class indices. */
export const hasClassIndices = ({ maps, target }: ClassImages) => target.rank === maps.rank - 1;

/** Refuses all but `least` to `most` spatial axes; `form` words them. */
export function checkClassImages(
  op: string,
  t: ClassImages,
  form: string,
  least: number,
  most: number,
): void {
  const { maps, name, target } = t;
  expectOnCpu(op, name, maps);
  expectDType(op, name, maps, floats);
  const { shape, rank } = maps;
  if (rank < 2 + least || rank > 2 + most || shape[1] === 0) {
    const wanted = `${form} with at least one channel`;
    fail(op, 'ERR_SHAPE', `expected ${name} to have shape ${wanted}, got ${showShape(shape)}`);
  }
  const [batch, , ...spatial] = shape;
  const voxels = spatial.reduce((a, b) => a * b, 1);
  if (voxels > 2 ** 30)
    fail(op, 'ERR_SHAPE', `expected at most 2^30 voxels an image, got ${voxels}`);
  const like = `${name} ${showShape(shape)}`;
  if (hasClassIndices(t)) {
    expectDType(op, 'target', target, ['int32', 'int64']);
    expectShape(op, 'target', target, [batch, ...spatial], `class indices of ${like}`);
  } else {
    expectDType(op, 'target', target, [maps.dtype, 'bool', 'uint8']);
    expectShape(op, 'target', target, shape, `like ${like}`);
  }
}

/** Refuses a background that is all there is. */
export function checkBackground(op: string, maps: Tensor, background: boolean | undefined): void {
  if (background !== false || maps.shape[1] !== 1) return;
  const wanted = 'more than one channel where background is false';
  fail(op, 'ERR_INVALID_VALUE', `expected ${wanted}, got prediction ${showShape(maps.shape)}`);
}
