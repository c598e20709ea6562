// Persistence barcodes and Betti matchings of images, as arrays of voxel indices: see the doc
// comments below.
import {
  checkMatching,
  checkSpatial,
  commonDType,
  onHost,
  prepared,
  preparedImage,
} from '../betti-images.js';
import { checkBettiMemory, listBytes } from '../betti-memory.js';
import {
  type BettiMatchingOptions,
  type BettiOptions,
  bettiOptionNames,
  checkBettiOptions,
  ownOptions,
  unlessAborted,
} from '../betti-options.js';
import { type Bars, BettiMatch, type MatchedPairs, PersistenceBarcode } from '../betti-result.js';
import {
  allocated,
  atOnce,
  type Found,
  type Pieces,
  type Problem,
  search,
  searchHeld,
} from '../betti-search.js';
import { expectOptions } from '../expect.js';
import { HeldImages } from '../held-images.js';
import { sizeOf } from '../shape.js';
import { checkFromLogits } from '../targets.js';
import { expectTensor, type Tensor } from '../tensor.js';

/** So many integers are copied, and so many cycles cut out, at a time. */
const [cellsPerPiece, cyclesPerPiece] = [2 ** 19, 2 ** 10];

/** The cycles of one image in one array, and where each ends: an array each would keep the collector busy. */
interface Cycles {
  cells: Int32Array;
  ends: Int32Array;
}

function* cyclesOfImage(found: Found, image: number, bars: number): Pieces<Cycles> {
  const { cycles, cycleEnds, capacity, cycleCapacity } = found;
  const ends = cycleEnds!.subarray((image * capacity) / 2, (image * capacity) / 2 + bars);
  const from = cycles!.subarray(image * cycleCapacity, image * cycleCapacity + (ends.at(-1) ?? 0));
  const cells = new Int32Array(from.length);
  for (let at = 0; at < cells.length; at += cellsPerPiece) {
    cells.set(from.subarray(at, at + cellsPerPiece), at);
    yield;
  }
  return { cells, ends };
}

/** Those of `count` pairs from the `first` on. */
function* cut({ cells, ends }: Cycles, first: number, count: number): Pieces<Int32Array[]> {
  const list: Int32Array[] = new Array(count);
  for (let i = 0; i < count; i++) {
    list[i] = cells.subarray(first + i === 0 ? 0 : ends[first + i - 1], ends[first + i]);
    if (i % cyclesPerPiece === cyclesPerPiece - 1) yield;
  }
  return list;
}

/** Those of the lists of one degree, whose first pair is the `bar`-th of the image. */
function* cyclesOfLists(
  all: Cycles,
  bar: number,
  [matched, ofPrediction, ofTarget]: Int32Array,
): Pieces<MatchedPairs['cycles']> {
  const both = yield* cut(all, bar, 2 * matched);
  const alone = bar + 2 * matched;
  const pairs: [Int32Array, Int32Array][] = new Array(matched);
  for (let i = 0; i < matched; i++) {
    pairs[i] = [both[2 * i], both[2 * i + 1]];
    if (i % cyclesPerPiece === cyclesPerPiece - 1) yield;
  }
  return {
    matched: pairs,
    unmatchedPrediction: yield* cut(all, alone, ofPrediction),
    unmatchedTarget: yield* cut(all, alone + ofPrediction, ofTarget),
  };
}

/** Cuts the lists of one image out of what was found. */
function* listsOf(
  found: Found,
  image: number,
  axes: number,
  o: BettiOptions,
): Pieces<(MatchedPairs | null)[]> {
  const { pairs, capacity } = found;
  const counts = found.counts.subarray(image * axes * 3, (image + 1) * axes * 3);
  const bars = counts.reduce((sum, n, i) => sum + (i % 3 === 0 ? 2 * n : n), 0);
  const cycles = o.cycles && (yield* cyclesOfImage(found, image, bars));
  let at = image * capacity;
  const next = (width: number, count: number) => {
    const list = pairs.slice(at, at + width * count);
    at += width * count;
    return list;
  };
  const dims: (MatchedPairs | null)[] = [];
  for (let k = 0; k < axes; k++) {
    const count = counts.subarray(3 * k, 3 * k + 3);
    const bar = (at - image * capacity) / 2;
    const lists: MatchedPairs = {
      matched: next(4, count[0]),
      unmatchedPrediction: next(2, count[1]),
      unmatchedTarget: next(2, count[2]),
    };
    const isWanted = !o.dims || o.dims.includes(k);
    if (isWanted && cycles) lists.cycles = yield* cyclesOfLists(cycles, bar, count);
    dims.push(isWanted ? lists : null);
  }
  return dims;
}

function* results(problem: Problem, found: Found): Pieces<BettiMatch[]> {
  const { prediction, target, axes, options } = problem;
  const images = found.metrics!.length / 2;
  const spatial = prediction.shape.slice(prediction.rank - axes);
  const voxels = sizeOf(spatial);
  const [ours, theirs] = [new HeldImages(prediction), new HeldImages(target!)];
  const matches: BettiMatch[] = [];
  for (let i = 0; i < images; i++) {
    const [matchingError, bettiNumberError] = found.metrics!.subarray(2 * i, 2 * i + 2);
    const dims = yield* listsOf(found, i, axes, options);
    matches.push(
      new BettiMatch(dims, matchingError, bettiNumberError, {
        shape: spatial,
        prediction: () => ours.cut(i * voxels, voxels),
        target: () => theirs.cut(i * voxels, voxels),
        padding: options.padding,
        filtration: options.filtration === 'sublevel' ? 'sublevel' : 'superlevel',
        essential: options.essential === true,
      }),
    );
    yield;
  }
  return matches;
}

const listOptionNames = [...bettiOptionNames, 'cycles'];

type BatchOf = (prediction: Tensor, target: Tensor, options?: BettiMatchingOptions) => BettiMatch[];
type BatchOfAsync = (...args: Parameters<BatchOf>) => Promise<BettiMatch[]>;

function checkCall(op: string, prediction: Tensor, target: Tensor, o: BettiOptions, batch: number) {
  expectTensor(op, 'prediction', prediction);
  expectTensor(op, 'target', target);
  expectOptions(op, o, listOptionNames);
  checkMatching(op, prediction, target, o, batch);
}

/** The matchings of all images behind `batch` leading axes. */
function matchings(op: string, batch: number): BatchOf {
  return (prediction, target, options = {}) => {
    checkCall(op, prediction, target, options, batch);
    const axes = prediction.rank - batch;
    const images = prepared(op, onHost(prediction), onHost(target), options);
    const problem = { op, ...images, axes, options };
    const found = search(problem);
    return allocated(op, () => atOnce(results(problem, found)));
  };
}

function matchingsAsync(op: string, batch: number): BatchOfAsync {
  return async (prediction, target, given = {}) => {
    checkCall(op, prediction, target, given, batch);
    const [axes, options] = [prediction.rank - batch, ownOptions(given)];
    const work = searchHeld(
      [prediction, target],
      ([p, t]) => ({ op, ...prepared(op, p, t, options), axes, options }),
      results,
    );
    return unlessAborted(options.signal, work);
  };
}

const one = matchings('bettiMatching', 0);
const oneAsync = matchingsAsync('bettiMatching', 0);

/**
 * The Betti matching of a prediction and a target, two images [...spatial] of 1 to 3 axes: which of
 * their topological features (components, loops, cavities) correspond to each other in space.
 * Index for index the result of Betti-Matching-3D, ties included.
 *
 * For each degree k of homology, `dims[k]` lists row-major voxel indices: `matched` [n, 4] (birth and
 * death in the prediction, birth and death in the target), `unmatchedPrediction` and
 * `unmatchedTarget` [n, 2]. Foreground is connected by edges (4 and 6 neighbours). With the images
 * as masks (`threshold`), `matchingError` counts the unmatched pairs and `bettiNumberError` sums
 * |beta_k - beta'_k|. `toSVG()` draws images, pairs and persistence diagram, and with `cycles`
 * (`dims[k].cycles`, see `persistenceBarcode`) the loops.
 *
 * Dtypes: floats of one dtype, or masks of any integer dtype. Values are compared exactly as they
 * are: logits need `fromLogits`, or births and deaths are compared with those of a 0/1 mask.
 * Tensors on a device are copied to the host. `bettiMatching.async` leaves the event loop free.
 *
 * Stucki et al., "Topologically faithful image segmentation via induced matching of persistence
 * barcodes", ICML 2023, section 3; Stucki et al., arXiv 2407.04683.
 *
 * @throws ERR_SHAPE, ERR_DTYPE, ERR_INVALID_VALUE, ERR_UNKNOWN_OPTION for bad arguments;
 *   ERR_INVALID_VALUE naming the first NaN, ERR_OUT_OF_RANGE a class index of a batch;
 *   OutOfMemoryError for images beyond the free memory.
 * @example
 * const { dims, matchingError } = sp.bettiMatching(prediction, mask)
 */
export const bettiMatching = Object.assign(
  (prediction: Tensor, target: Tensor, options?: BettiMatchingOptions): BettiMatch =>
    one(prediction, target, options)[0],
  {
    async: async (
      prediction: Tensor,
      target: Tensor,
      options?: BettiMatchingOptions,
    ): Promise<BettiMatch> => (await oneAsync(prediction, target, options))[0],
  },
);

/**
 * `bettiMatching` of every image of prediction [B, C, ...spatial] and target (the same shape, or
 * class indices [B, ...spatial], each class against the rest, a single channel being class 1): B·C
 * results, row-major. Images run in parallel.
 *
 * @throws as `bettiMatching`.
 * @example for (const { matchingError } of sp.bettiMatchingBatch(probabilities, masks)) ...
 */
export const bettiMatchingBatch = Object.assign(matchings('bettiMatchingBatch', 2), {
  async: matchingsAsync('bettiMatchingBatch', 2),
});

const barcodeName = 'persistenceBarcode';

/** Options of `persistenceBarcode`, of which those of matchings change nothing. */
export type PersistenceBarcodeOptions = BettiMatchingOptions;

function checkBarcode(image: Tensor, options: PersistenceBarcodeOptions): void {
  expectTensor(barcodeName, 'image', image);
  expectOptions(barcodeName, options, listOptionNames);
  checkSpatial(barcodeName, 'image', image, 0);
  checkBettiOptions(barcodeName, options, image.rank);
  checkFromLogits(barcodeName, options.fromLogits);
  const dtype = commonDType(barcodeName, image);
  const work = { matches: false, items: 1, padding: options.padding };
  const each = listBytes(options, dtype, 3);
  checkBettiMemory(barcodeName, image.shape, image.rank, work, each * image.size);
}

function barcodeProblem(image: Tensor, options: PersistenceBarcodeOptions): Problem {
  const prediction = preparedImage(barcodeName, image, options);
  return { op: barcodeName, prediction, axes: image.rank, options };
}

function* barcodeOf({ axes, options }: Problem, found: Found): Pieces<PersistenceBarcode> {
  const { counts, pairs, capacity } = found;
  const values = found.values!;
  const half = capacity / 2;
  const dims: (Bars | null)[] = new Array(axes).fill(null);
  const bars = counts.reduce((sum, n) => sum + n, 0);
  const cycles = options.cycles && (yield* cyclesOfImage(found, 0, bars));
  let end = 0;
  for (let k = 0; k < axes; k++) {
    const begin = end;
    end += counts[3 * k + 1];
    if (options.dims && !options.dims.includes(k)) continue;
    dims[k] = {
      birth: values.slice(begin, end),
      death: values.slice(half + begin, half + end),
      birthIndex: pairs.slice(begin, end),
      deathIndex: pairs.slice(half + begin, half + end),
    };
    if (cycles) dims[k]!.cycles = yield* cut(cycles, begin, end - begin);
  }
  return new PersistenceBarcode(dims);
}

/**
 * The persistence barcode of an image [...spatial] of 1 to 3 axes (V-construction: voxels are
 * vertices, 4 and 6 neighbours): `dims[k]` holds `birth` and `death`, the image's own values, and
 * `birthIndex`, `deathIndex`, the row-major voxels they belong to, of every feature of degree k.
 * Features of length 0 are left out; so is the component that never dies, unless `essential` (its
 * death is -Infinity, for sublevel Infinity, at index -1). Any dtype; values come as float32, or as
 * float64 for float64, int32 and int64. Options of matchings alone may stand among the options.
 *
 * With `cycles`, `dims[k].cycles[i]` is a cycle that represents bar i, as cells of 2^k voxels each, in
 * row-major order: it appears with the bar's birth, and with its death it becomes a boundary, each
 * not before. Degree 0: the voxel of the birth and that of the older component it meets (alone for
 * the one that never dies). The highest degree (loops of planes, cavities of volumes): edges or
 * squares around what fills it last. Loops of volumes: edges, one cycle of the many. Voxels of the
 * padding are -1.
 *
 * @throws as `bettiMatching`.
 * @example const { birth, death } = sp.persistenceBarcode(image).dims[1]
 */
export const persistenceBarcode = Object.assign(
  (image: Tensor, options: PersistenceBarcodeOptions = {}): PersistenceBarcode => {
    checkBarcode(image, options);
    const problem = barcodeProblem(onHost(image), options);
    const found = search(problem);
    return allocated(barcodeName, () => atOnce(barcodeOf(problem, found)));
  },
  {
    async: async (
      image: Tensor,
      given: PersistenceBarcodeOptions = {},
    ): Promise<PersistenceBarcode> => {
      checkBarcode(image, given);
      const options = ownOptions(given);
      const work = searchHeld([image], ([host]) => barcodeProblem(host, options), barcodeOf);
      return unlessAborted(options.signal, work);
    },
  },
);
