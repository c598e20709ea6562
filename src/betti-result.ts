// What barcodes and Betti matchings give: lists of voxel indices that can draw themselves.
import { diagramSVG, matchingSVG, type SvgOptions } from './betti-svg.js';
import type { Shape } from './shape.js';

/** The pairs of one degree: row-major voxel indices, -1 in the padding and for no death. */
export interface MatchedPairs {
  /** Of shape [n, 4]: birth and death in the prediction, birth and death in the target. */
  matched: Int32Array;
  /** Of shape [n, 2]: birth and death. */
  unmatchedPrediction: Int32Array;
  /** Of shape [n, 2]: birth and death. */
  unmatchedTarget: Int32Array;
  /** With the option `cycles`: of each of the pairs, see `persistenceBarcode`. */
  cycles?: {
    /** In the prediction and in the target. */
    matched: [Int32Array, Int32Array][];
    unmatchedPrediction: Int32Array[];
    unmatchedTarget: Int32Array[];
  };
}

/** The bars of one degree. */
export interface Bars {
  /** Values of the image where features begin. */
  birth: Float32Array | Float64Array;
  /** Values where they end; infinite for the essential class. */
  death: Float32Array | Float64Array;
  /** The voxels of the births, row-major; -1 in the padding. */
  birthIndex: Int32Array;
  /** The voxels of the deaths; -1 in the padding and for none. */
  deathIndex: Int32Array;
  /**
   * With the option `cycles`: of each bar the cells of a cycle that represents it, each cell as the
   * 2^k voxels that it joins.
   */
  cycles?: Int32Array[];
}

/** The two images that were matched, as they were compared: read when they are drawn. */
export interface MatchedImages {
  shape: Shape;
  prediction: () => Float32Array | Float64Array;
  target: () => Float32Array | Float64Array;
  padding: 'none' | 'minmax' | number | undefined;
  filtration: 'superlevel' | 'sublevel';
  /** Whether the last matched pair of degree 0 never dies. */
  essential: boolean;
}

/** A Betti matching; see `bettiMatching`. */
export class BettiMatch {
  readonly #images: MatchedImages;

  /** @internal */
  constructor(
    /** One entry per spatial axis, degree k at dims[k]; null where it was not asked for. */
    readonly dims: readonly (MatchedPairs | null)[],
    /** Unmatched pairs of the two masks. */
    readonly matchingError: number,
    /** Sum over degrees of |beta_k - beta'_k| of the two masks. */
    readonly bettiNumberError: number,
    images: MatchedImages,
  ) {
    this.#images = images;
  }

  /**
   * Both images with their pairs drawn in, the persistence diagram in which lines join what is
   * matched, and the bars, those of the target dashed, matched ones one below the other. Arrays of three axes are drawn as projections along the first. Both images are held for
   * this, uncopied, as long as the matching is: what writes into their memory copies them first.
   */
  toSVG(options?: SvgOptions): string {
    return matchingSVG(this.dims, this.#images, options);
  }
}

/** A persistence barcode; see `persistenceBarcode`. */
export class PersistenceBarcode {
  /** @internal */
  constructor(
    /** One entry per spatial axis, degree k at dims[k]; null where it was not asked for. */
    readonly dims: readonly (Bars | null)[],
  ) {}

  /** The persistence diagram, and the bars from birth (a dot) to death. */
  toSVG(options?: SvgOptions): string {
    return diagramSVG(this.dims, options);
  }
}
