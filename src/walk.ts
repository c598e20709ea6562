// The backward walk: nodes in the reverse order of their making, each gradient complete before it
// is used. Gradients that only this walk holds are disposed as soon as they are used up, so their
// memory serves the next ones.

import { whilePinned } from './autograd.js';
import { keepGradient, refuseOuterGradient } from './capture.js';
import { isFloat } from './dtype.js';
import { fail, show, showShape } from './expect.js';
import { copyOf, expectAlive, filled, isAlike, runHooks, summed, unclaim } from './gradient.js';
import { launch, native, record, submit } from './native.js';
import { keep } from './scope.js';
import {
  addedElsewhere,
  checkGradients,
  type Edge,
  type Gradients,
  type Node,
  noGrad,
  privateMark,
  retaining,
  setGradEnabled,
} from './tape.js';
import { expectTensor, Tensor } from './tensor.js';

let runs = 0;

interface LeafState {
  uses: number;
  /** Uses that counted, a missing gradient as zero. */
  counted: number;
  gradient: Tensor | null;
}

/** One place for each output. Without holes, which `every` would pass over. */
function noGradients(node: Node): (Tensor | undefined)[] {
  return new Array<Tensor | undefined>(node.outputs.length).fill(undefined);
}

/** What `grad()` wants: gradients of leaves and of outputs of nodes. */
export interface Targets {
  leaves: Map<Tensor, Tensor | null>;
  outputs: Map<Node, Map<number, Tensor | null>>;
}

/** One walk from the roots to the leaves, or to the targets of `grad`. */
export class Walk {
  private readonly order: Node[] = [];
  private readonly pending = new Map<Node, (Tensor | undefined)[]>();
  private readonly leaves = new Map<Tensor, LeafState>();
  private readonly rootLeaves: [Tensor, Tensor][] = [];

  constructor(
    private readonly roots: readonly [Tensor, Tensor][],
    private readonly targets: Targets | null,
    private readonly retainGraph: boolean,
  ) {
    this.visit();
    if (targets) this.prune(targets);
    for (const node of this.order) {
      if (!node.useful) continue;
      for (const { leaf } of node.edges) {
        if (!leaf || (targets && !targets.leaves.has(leaf))) continue;
        const state = this.leaves.get(leaf);
        if (state) state.uses++;
        else this.leaves.set(leaf, { uses: 1, counted: 0, gradient: null });
      }
    }
  }

  run(): void {
    const recorded = setGradEnabled(false);
    this.begin();
    try {
      this.seed();
      for (const node of this.order) {
        const gradients = this.gradientsFor(node);
        if (gradients) this.deliver(node, this.compute(node, gradients), gradients);
      }
    } finally {
      this.end();
      setGradEnabled(recorded);
    }
  }

  async runAsync(): Promise<void> {
    this.begin();
    try {
      this.seed();
      for (const node of this.order) {
        const gradients = this.gradientsFor(node);
        if (!gradients) continue;
        if (node.device !== 'cpu') {
          // Only enqueues.
          this.deliver(node, this.compute(node, gradients), gradients);
          continue;
        }
        const { result, launches } = record(() => this.compute(node, gradients));
        await whilePinned([node.savedTensors, gradients, Object.values(result)], () =>
          submit(launches),
        );
        this.deliver(node, result, gradients);
      }
    } finally {
      this.end();
    }
  }

  private visit(): void {
    const run = ++runs;
    const stack: Node[] = [];
    for (const [root, gradient] of this.roots) {
      if (root.node) stack.push(root.node as Node);
      else this.rootLeaves.push([root, gradient]);
    }
    while (stack.length) {
      const node = stack.pop()!;
      if (node.visit === run) continue;
      node.visit = run;
      if (node.running)
        fail(
          'backward',
          'ERR_GRAPH',
          `a backward is already running through the graph of ${node.name}`,
        );
      if (node.released) {
        fail(
          'backward',
          'ERR_GRAPH',
          `the graph of ${node.name} has been used by an earlier backward; pass { retainGraph: true } to that one`,
        );
      }
      node.useful = true;
      this.order.push(node);
      for (const edge of node.edges)
        if (edge.node && edge.node.visit !== run) stack.push(edge.node);
    }
    this.order.sort((a, b) => b.id - a.id);
  }

  /** Keeps the nodes that lead to a target. */
  private prune(targets: Targets): void {
    for (let i = this.order.length - 1; i >= 0; i--) {
      const node = this.order[i];
      node.useful = node.edges.some((e) => this.leads(e, targets));
    }
  }

  private leads(edge: Edge, targets: Targets | null): boolean {
    if (!targets) return true;
    if (edge.leaf) return targets.leaves.has(edge.leaf);
    return edge.node!.useful || (targets.outputs.get(edge.node!)?.has(edge.outputIndex) ?? false);
  }

  private begin(): void {
    for (const node of this.order) node.running = true;
  }

  private end(): void {
    for (const node of this.order) {
      node.running = false;
      if (!this.retainGraph) node.release(null);
    }
    if (this.pending.size > 0 || this.leaves.size > 0) this.abandon();
  }

  /** Gives up what a failed walk leaves behind. */
  private abandon(): void {
    for (const list of this.pending.values()) for (const g of list) if (g) unclaim(g);
    for (const { gradient } of this.leaves.values()) if (gradient) unclaim(gradient);
    this.pending.clear();
    this.leaves.clear();
  }

  private seed(): void {
    for (const [root, gradient] of this.roots) {
      gradient.claims++;
      if (root.node) this.add(root.node as Node, root.outputIndex, gradient);
    }
    for (const [leaf, gradient] of this.rootLeaves) this.finishLeaf(leaf, gradient);
  }

  private add(node: Node, output: number, gradient: Tensor): void {
    const list = this.pending.get(node) ?? noGradients(node);
    this.pending.set(node, list);
    const before = list[output];
    list[output] = before ? summed(before, gradient) : gradient;
  }

  /** The complete gradients of a node's outputs after their hooks; null when it need not run. */
  private gradientsFor(node: Node): (Tensor | undefined)[] | null {
    const list = this.pending.get(node) ?? noGradients(node);
    this.pending.delete(node);
    const wanted = this.targets?.outputs.get(node);
    for (let i = 0; i < list.length; i++) {
      let gradient = list[i];
      if (!gradient) continue;
      const hooks = node.hooks?.[i];
      if (hooks?.length) {
        gradient = runHooks(hooks, gradient);
        list[i] = gradient;
      }
      if (!wanted?.has(i)) continue;
      gradient.seen = true;
      wanted.set(i, gradient);
    }
    if (node.useful) return list;
    for (const gradient of list) if (gradient) unclaim(gradient);
    return null;
  }

  /** The gradients of a node's inputs; those of its outputs are given up if that fails. */
  private compute(node: Node, gradients: (Tensor | undefined)[]): Gradients {
    try {
      return this.computed(node, gradients);
    } catch (error) {
      for (const gradient of gradients) if (gradient) unclaim(gradient);
      throw error;
    }
  }

  private computed(node: Node, gradients: (Tensor | undefined)[]): Gradients {
    if (gradients.every((g) => g === undefined)) return {};
    node.checkSaved();
    const { op } = node;
    if (!op.builtin) {
      for (let i = 0; i < gradients.length; i++) {
        gradients[i] ??= this.zeros(node, i);
        gradients[i]!.seen = true;
      }
    }
    let needs = node.needs;
    if (this.targets) {
      const open: Record<string, boolean> = {};
      for (const edge of node.edges) if (this.leads(edge, this.targets)) open[edge.key] = true;
      needs = open;
    }
    const result = retaining(this.retainGraph, node.device, () =>
      op.backward!(node.saved, this.shaped(node, gradients), needs),
    );
    if (!op.builtin) checkGradients(op, result);
    return result;
  }

  private zeros(node: Node, output: number): Tensor | undefined {
    const { shape, dtype, device } = node.outputs[output];
    if (!isFloat(dtype)) return undefined;
    const t = filled(shape, dtype, 0, device);
    t.claims = 1;
    return t;
  }

  /** Gradients in the form that the outputs had. */
  private shaped(node: Node, gradients: (Tensor | undefined)[]): unknown {
    const { outputs } = node;
    if (outputs.length === 1 && outputs[0].key === 'output') return gradients[0];
    if (outputs[0].key === '0') return gradients;
    return Object.fromEntries(outputs.map(({ key }, i) => [key, gradients[i]]));
  }

  private deliver(node: Node, result: Gradients, gradients: (Tensor | undefined)[]): void {
    // Claims come first: one tensor may be the gradient of several inputs.
    const received = node.edges.map((edge) => {
      const gradient = this.received(node, edge, result);
      if (!gradient) return gradient;
      if (gradient.claims === privateMark) gradient.claims = 0;
      if (!node.op.builtin) gradient.seen = true;
      gradient.claims++;
      return gradient;
    });
    for (const gradient of gradients) if (gradient) unclaim(gradient);
    if (!this.retainGraph) node.release(received);
    for (let i = 0; i < received.length; i++) {
      const edge = node.edges[i];
      this.pass(edge, received[i], result[edge.key] === addedElsewhere);
    }
  }

  private received(node: Node, edge: Edge, result: Gradients): Tensor | null {
    if (!this.leads(edge, this.targets)) return null;
    const value = result[edge.key];
    if (value === addedElsewhere) return null;
    const gradient = (
      edge.position >= 0 ? (value as readonly Tensor[] | undefined)?.[edge.position] : value
    ) as Tensor | null | undefined;
    if (!gradient) return null;
    if (!(gradient instanceof Tensor))
      expectTensor(node.name, `backward's gradient of ${edge.key}`, gradient);
    expectAlive(node.name, `backward's gradient of ${edge.key}`, gradient);
    if (!isAlike(gradient, edge)) {
      const place = gradient.device === edge.device ? '' : ` on ${edge.device}`;
      fail(
        node.name,
        'ERR_SHAPE',
        `expected backward to give ${edge.key} a ${edge.dtype} gradient of shape ${showShape(edge.shape)}${place}, got ${show(gradient)}`,
      );
    }
    return gradient;
  }

  private pass(edge: Edge, gradient: Tensor | null, elsewhere: boolean): void {
    if (edge.node) {
      if (gradient) this.add(edge.node, edge.outputIndex, gradient);
      return;
    }
    const state = this.leaves.get(edge.leaf!);
    if (!state) return;
    if (gradient) state.gradient = state.gradient ? summed(state.gradient, gradient) : gradient;
    if (!elsewhere) state.counted++;
    if (--state.uses > 0) return;
    this.leaves.delete(edge.leaf!);
    if (state.counted === 0) return;
    this.finishLeaf(edge.leaf!, state.gradient ?? this.claimedZeros(edge));
  }

  private claimedZeros(edge: Edge): Tensor {
    const t = filled(edge.shape, edge.dtype, 0, edge.device);
    t.claims = 1;
    return t;
  }

  /** Hooks, then accumulation (or capture by `grad()`), then post hooks. */
  private finishLeaf(leaf: Tensor, complete: Tensor): void {
    const hooks = leaf.hooks;
    const gradient = hooks?.grad.length ? runHooks(hooks.grad, complete) : complete;
    if (this.targets) {
      if (this.targets.leaves.has(leaf)) this.targets.leaves.set(leaf, gradient);
      return;
    }
    keep(gradient);
    refuseOuterGradient(leaf);
    const before = leaf.gradient;
    if (!before) {
      const own = gradient.claims === 1 && gradient.storage!.refs === 1;
      leaf.gradient = own ? gradient : keep(copyOf(gradient));
      if (!own) unclaim(gradient);
      else gradient.claims = 0;
    } else if (before.seen || before.storage!.refs !== 1) {
      const sum = keep(copyOf(before));
      launch(native.accumulate, { out: sum.raw, a: gradient.raw });
      leaf.gradient = sum;
      unclaim(gradient);
    } else {
      launch(native.accumulate, { out: before.raw, a: gradient.raw });
      unclaim(gradient);
    }
    keepGradient(leaf);
    if (hooks) for (const hook of [...hooks.post]) noGrad(() => hook(leaf));
  }
}
