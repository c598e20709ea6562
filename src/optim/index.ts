export type { AdamOptions } from './adam.js';
export { Adam, AdamW } from './adam.js';
export { clipGradNorm } from './clip.js';
export type { LearningRate, ParamGroup } from './optimizer.js';
export { Optimizer } from './optimizer.js';
export type { DecayOptions, Schedule } from './schedule.js';
export { cosineSchedule, linearSchedule, linearWarmup, stepSchedule } from './schedule.js';
export type { SGDOptions } from './sgd.js';
export { SGD } from './sgd.js';
