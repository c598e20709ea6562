// How functions become methods of the tensor.
import { Tensor } from './tensor.js';

// biome-ignore lint/suspicious/noExplicitAny: operations of every signature
type Functions = Record<string, (self: any, ...args: any[]) => unknown>;

/** Makes each function a method whose first argument is the tensor. */
export function attach(functions: Functions): void {
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
