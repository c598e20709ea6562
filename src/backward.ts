// backward, backwardAsync and grad: what starts a walk over the tape (src/walk.ts).

import { expectBoolean, expectOptions, fail, show, showShape } from './expect.js';
import { filled, isAlike } from './gradient.js';
import type { Node } from './tape.js';
import { disposedError, expectTensor, Tensor } from './tensor.js';
import { type Targets, Walk } from './walk.js';

function rootGradient(op: string, root: Tensor, given: Tensor | null | undefined): Tensor {
  expectTensor(op, 'the tensor', root);
  if (root.isDisposed) throw disposedError(root);
  if (!root.wantsGrad) {
    fail(
      op,
      'ERR_GRAPH',
      'expected a tensor that requires a gradient (an input with requiresGrad, outside noGrad)',
    );
  }
  if (given === undefined || given === null) {
    if (root.size !== 1) {
      fail(
        op,
        'ERR_SHAPE',
        `expected a gradient for a tensor of shape ${showShape(root.shape)}; only a single element defaults to 1`,
      );
    }
    return filled(root.shape, root.dtype, 1, root.device);
  }
  expectTensor(op, 'grad', given);
  if (given.isDisposed) throw disposedError(given);
  if (!isAlike(given, root)) {
    fail(op, 'ERR_SHAPE', `expected grad to be like ${show(root)}, got ${show(given)}`);
  }
  given.seen = true;
  // The caller holds it: this claim is never given back.
  given.claims++;
  return given;
}

/** Options of `backward` and `backwardAsync`. */
export interface BackwardOptions {
  /** Keep the graph for another backward (default false). */
  retainGraph?: boolean | undefined;
}

function walkFrom(root: Tensor, grad: Tensor | null | undefined, options: BackwardOptions): Walk {
  expectOptions('backward', options, ['retainGraph']);
  if (options.retainGraph !== undefined)
    expectBoolean('backward', 'retainGraph', options.retainGraph);
  const gradient = rootGradient('backward', root, grad);
  return new Walk([[root, gradient]], null, options.retainGraph === true);
}

/** Accumulates the gradient of `root` into the `grad` of every leaf it depends on. */
export function backward(root: Tensor, grad?: Tensor | null, options: BackwardOptions = {}): void {
  walkFrom(root, grad, options).run();
}

/** As `backward`, with the kernels on a background thread. */
export async function backwardAsync(
  root: Tensor,
  grad?: Tensor | null,
  options: BackwardOptions = {},
): Promise<void> {
  await walkFrom(root, grad, options).runAsync();
}

/** Options of `grad`. */
export interface GradOptions extends BackwardOptions {
  /** Upstream gradients, one per output (default 1 for single elements). */
  gradOutputs?: Tensor | readonly (Tensor | null | undefined)[] | undefined;
  /** Give null for inputs that the outputs do not depend on, instead of an error. */
  allowUnused?: boolean | undefined;
}

/**
 * The gradients of the sum of `outputs` with respect to `inputs`, without touching any `grad`.
 * A single input gives an array of one.
 */
export function grad(
  outputs: Tensor | readonly Tensor[],
  inputs: Tensor | readonly Tensor[],
  options: GradOptions = {},
): (Tensor | null)[] {
  expectOptions('grad', options, ['gradOutputs', 'retainGraph', 'allowUnused']);
  for (const name of ['retainGraph', 'allowUnused'] as const)
    if (options[name] !== undefined) expectBoolean('grad', name, options[name]);
  const roots = outputs instanceof Tensor ? [outputs] : outputs;
  const wanted = inputs instanceof Tensor ? [inputs] : inputs;
  if (!Array.isArray(roots) || roots.length === 0)
    fail(
      'grad',
      'ERR_INVALID_TYPE',
      `expected outputs to be a tensor or an array of tensors, got ${show(outputs)}`,
    );
  if (!Array.isArray(wanted))
    fail(
      'grad',
      'ERR_INVALID_TYPE',
      `expected inputs to be a tensor or an array of tensors, got ${show(inputs)}`,
    );
  const given = options.gradOutputs instanceof Tensor ? [options.gradOutputs] : options.gradOutputs;
  if (given !== undefined && (!Array.isArray(given) || given.length !== roots.length)) {
    fail(
      'grad',
      Array.isArray(given) ? 'ERR_INVALID_VALUE' : 'ERR_INVALID_TYPE',
      `expected gradOutputs to be one tensor for each of ${roots.length} outputs, got ${show(given)}`,
    );
  }
  const targets: Targets = { leaves: new Map(), outputs: new Map() };
  for (const input of wanted) {
    expectTensor('grad', 'inputs', input);
    if (!input.wantsGrad) fail('grad', 'ERR_GRAPH', 'expected inputs to require a gradient');
    const node = input.node as Node | null;
    if (!node) targets.leaves.set(input, null);
    else {
      if (!targets.outputs.has(node)) targets.outputs.set(node, new Map());
      targets.outputs.get(node)!.set(input.outputIndex, null);
    }
  }
  const seeds = roots.map((root, i): [Tensor, Tensor] => [
    root,
    rootGradient('grad', root, given?.[i]),
  ]);
  new Walk(seeds, targets, options.retainGraph === true).run();
  return wanted.map((input, i) => {
    const node = input.node as Node | null;
    const found = node
      ? targets.outputs.get(node)!.get(input.outputIndex)!
      : targets.leaves.get(input)!;
    if (!found && !options.allowUnused) {
      fail(
        'grad',
        'ERR_GRAPH',
        `inputs[${i}] was not used in the graph of the outputs; pass { allowUnused: true } to get null for it`,
      );
    }
    if (found) found.seen = true;
    return found;
  });
}
