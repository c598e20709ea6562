// Operations whose one required option may also be given by position: `maxPool2d(x, 2)` is
// `maxPool2d(x, { kernelSize: 2 })`.
import type { Op } from './autograd.js';
import { fail, show } from './expect.js';
import { Tensor } from './tensor.js';

function isOptions(value: unknown): boolean {
  const plain = value !== null && typeof value === 'object' && !Array.isArray(value);
  return plain && !(value instanceof Tensor);
}

/** @internal `op` with `tensors` tensors and then either options, or the option `name` and options. */
export function positional<F>(op: Op, tensors: number, name: string): F {
  const arranged = (args: unknown[]): unknown[] => {
    const value = args[tensors];
    if (value === undefined || isOptions(value)) return args;
    const options = args[tensors + 1];
    if (args.length > tensors + 2 || (options !== undefined && !isOptions(options))) {
      const last = args.length > tensors + 2 ? `${args.length} arguments` : show(options);
      fail(op.name, 'ERR_INVALID_TYPE', `expected options to be an object, got ${last}`);
    }
    return [...args.slice(0, tensors), { ...(options as object), [name]: value }];
  };
  const call = (...args: unknown[]) => op(...arranged(args));
  Object.defineProperty(call, 'name', { value: op.name });
  const async = async (...args: unknown[]) => op.async(...arranged(args));
  return Object.assign(call, { async, raw: op.raw }) as F;
}
