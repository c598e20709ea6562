// The public names. One line per operation, no logic.
import './methods.js';

export type { ForwardResult, Gradients, Needs, Op, OpDefinition, RawOp } from './autograd.js';
export { defineOp, noGrad, raw } from './autograd.js';
export type { BackwardOptions, GradOptions } from './backward.js';
export { grad } from './backward.js';
export type { CreateOptions, NestedValues, TensorOptions } from './create.js';
export { arange, eye, full, linspace, ones, tensor, zeros } from './create.js';
export type { CudaStatus, Device } from './device.js';
export {
  cuda,
  devices,
  getThreads,
  instructionSet,
  setDefaultDevice,
  setThreads,
} from './device.js';
export type { DataOf, DType, FloatDType, IndexDType, ItemOf } from './dtype.js';
export type { ErrorCode } from './expect.js';
export type { GradcheckOptions } from './gradcheck.js';
export { gradcheck } from './gradcheck.js';
export { OutOfMemoryError } from './native.js';
export type { Shape } from './shape.js';
export type { DeviceMemory } from './storage.js';
export { memory, releaseRecycled } from './storage.js';
export type { HookHandle } from './tensor.js';
export { scope, Tensor } from './tensor.js';
