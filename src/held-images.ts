// Images that a picture may be drawn of later: they are not copied but where somebody is about to write
// into their memory.
import { keep } from './scope.js';
import type { Keeper } from './storage.js';
import { type Tensor, viewOf } from './tensor.js';
import { hostArray } from './transfer.js';

type Values = Float32Array | Float64Array;

/** The elements of a tensor of the CPU, float32 or float64, as they are now. */
export class HeldImages implements Keeper {
  /** Another name for the tensor, which no `dispose` or `scope` of the caller ends. */
  readonly #name: Tensor;
  #values: Values;

  constructor(images: Tensor) {
    this.#name = keep(viewOf(images, images.shape));
    this.#values = hostArray(images) as Values;
    this.#name.storage!.keptBy(this);
  }

  /** Elements from `first` on, not to be written to. */
  cut(first: number, count: number): Values {
    return this.#values.subarray(first, first + count);
  }

  beforeWrite(): void {
    this.#values = this.#values.slice();
    this.#name.dispose();
  }
}
