// Attaches operations to the tensor as methods. Each family declares its own methods here, beside
// the line that attaches them, so that `a.add(b)` and `add(a, b)` are one function.
import { type BackwardOptions, backward, backwardAsync } from './backward.js';
import type { DType } from './dtype.js';
import type { Shape } from './shape.js';
import { Tensor } from './tensor.js';

declare module './tensor.js' {
  interface Tensor<out D extends DType = DType, out S extends Shape = Shape> {
    /** Accumulates gradients into the leaves this tensor depends on; `grad` defaults to 1 for a single element. */
    backward(grad?: Tensor | null, options?: BackwardOptions): void;
    /** As `backward`, with the kernels on a background thread. */
    backwardAsync(grad?: Tensor | null, options?: BackwardOptions): Promise<void>;
  }
}

// biome-ignore lint/suspicious/noExplicitAny: operations of every signature
type Functions = Record<string, (self: any, ...args: any[]) => unknown>;

/** Makes each function a method whose first argument is the tensor. */
function attach(functions: Functions): void {
  for (const [name, fn] of Object.entries(functions)) {
    Object.defineProperty(Tensor.prototype, name, {
      value(this: Tensor, ...args: unknown[]) {
        return fn(this, ...args);
      },
      writable: true,
      configurable: true,
    });
  }
}

attach({ backward, backwardAsync });
