// The public names. One line per operation, no logic.
import './methods.js';

export type {
  ForwardResult,
  Gradients,
  Needs,
  Op,
  OpDefinition,
  RawOp,
  RawOps,
} from './autograd.js';
export { defineOp, noGrad, raw } from './autograd.js';
export type { BackwardOptions, GradOptions } from './backward.js';
export { grad } from './backward.js';
export type { BettiMatchingOptions, BettiOptions, Filtration } from './betti-options.js';
export type { Bars, BettiMatch, MatchedPairs, PersistenceBarcode } from './betti-result.js';
export type { SvgOptions } from './betti-svg.js';
export type { CloudOptions, Offsets } from './clouds.js';
export type { CreateOptions, NestedValues, TensorOptions } from './create.js';
export { tensor } from './create.js';
export type { CudaMemory, PointerOptions } from './cuda.js';
export { cuda } from './cuda.js';
export type { CudaDevice, CudaStatus, Device } from './device.js';
export {
  devices,
  getThreads,
  instructionSet,
  setDefaultDevice,
  setThreads,
} from './device.js';
export type { DLPackOptions } from './dlpack.js';
export { fromDLPack, toDLPack } from './dlpack.js';
export type { DataOf, DType, FloatDType, IndexDType, ItemOf } from './dtype.js';
export type { EmoRules } from './emo-options.js';
export type { ErrorCode } from './expect.js';
export { manualSeed } from './generator.js';
export type { GradcheckOptions } from './gradcheck.js';
export { gradcheck } from './gradcheck.js';
export type { GraphOptions, GraphStep } from './graph.js';
export { loadNpy, saveNpy } from './io/npy.js';
export type { SafetensorsOptions } from './io/safetensors.js';
export { loadSafetensors, loadSafetensorsMetadata, saveSafetensors } from './io/safetensors.js';
export type { LinearOptions, ScoredOptions } from './linear-logits.js';
export type { LineOptions } from './lines.js';
export type { Epilogue, LogitOptions, LossOptions, LossReduction } from './loss-options.js';
export { OutOfMemoryError } from './native.js';
export type { Activation, DropoutOptions, GeluOptions } from './ops/activation.js';
export { dropout, gelu, relu, sigmoid, silu, softplus, tanh } from './ops/activation.js';
export type { BarcodeLengthLossOptions } from './ops/barcode-length-loss.js';
export { barcodeLengthLoss } from './ops/barcode-length-loss.js';
export type { AppliedPlan, BarycentricMapOptions } from './ops/barycentric-map.js';
export { barycentricMap } from './ops/barycentric-map.js';
export type { PersistenceBarcodeOptions } from './ops/betti-matching.js';
export { bettiMatching, bettiMatchingBatch, persistenceBarcode } from './ops/betti-matching.js';
export type { BettiMatchingLossOptions } from './ops/betti-matching-loss.js';
export { bettiMatchingLoss } from './ops/betti-matching-loss.js';
export { clone, to } from './ops/cast.js';
export type { CdistOptions } from './ops/cdist.js';
export { cdist } from './ops/cdist.js';
export type { BatchNormOptions, GroupNorm, GroupNormOptions } from './ops/channel-norm.js';
export { batchNorm, groupNorm } from './ops/channel-norm.js';
export type { ClDiceOptions } from './ops/cl-dice.js';
export { clDice } from './ops/cl-dice.js';
export type { Comparison, UnaryTest } from './ops/comparison.js';
export {
  eq,
  ge,
  gt,
  isNaN,
  le,
  logicalAnd,
  logicalNot,
  logicalOr,
  lt,
  ne,
  where,
} from './ops/comparison.js';
export type { Conv, ConvOptions, ConvTransposeOptions } from './ops/convolution.js';
export { conv2d, conv3d, convTranspose2d, convTranspose3d } from './ops/convolution.js';
export type { CrossEntropyOptions } from './ops/cross-entropy.js';
export { crossEntropy } from './ops/cross-entropy.js';
export type { Cumsum, CumsumOptions } from './ops/cumsum.js';
export { cumsum } from './ops/cumsum.js';
export type { DivergenceOptions } from './ops/divergence.js';
export { divergence } from './ops/divergence.js';
export type { Binary, ClampOptions, Unary } from './ops/elementwise.js';
export {
  abs,
  add,
  clamp,
  cos,
  div,
  exp,
  log,
  log1p,
  maximum,
  minimum,
  mul,
  neg,
  pow,
  rsqrt,
  sign,
  sin,
  sqrt,
  square,
  sub,
} from './ops/elementwise.js';
export type { EmdClouds, EmdOptions, EmdResult } from './ops/emd.js';
export { emd } from './ops/emd.js';
export { emd1d } from './ops/emd1d.js';
export type { EmoOptions } from './ops/emo.js';
export { emo } from './ops/emo.js';
export type { FocalLossOptions } from './ops/focal-loss.js';
export { focalLoss } from './ops/focal-loss.js';
export type { Hvp, HvpOptions } from './ops/hvp.js';
export { hvp } from './ops/hvp.js';
export type { EmbeddingOptions } from './ops/indexing.js';
export {
  embedding,
  gather,
  indexSelect,
  maskedFill,
  oneHot,
  scatterAdd,
} from './ops/indexing.js';
export type { InterpolateOptions } from './ops/interpolate.js';
export { interpolate } from './ops/interpolate.js';
export { concat, split, stack } from './ops/join.js';
export type {
  Filter,
  FilterReport,
  LinearCrossEntropyOptions,
} from './ops/linear-cross-entropy.js';
export { filterReport, linearCrossEntropy } from './ops/linear-cross-entropy.js';
export type { LinearEmoOptions } from './ops/linear-emo.js';
export { linearEmo } from './ops/linear-emo.js';
export type {
  BackwardShardOptions,
  LinearLogprobsOptions,
  Logprobs,
  Partials,
  PartialsOptions,
} from './ops/linear-logprobs.js';
export {
  linearArgmax,
  linearCrossEntropyPartials,
  linearLogprobs,
  mergePartials,
} from './ops/linear-logprobs.js';
export type { MatmulOptions } from './ops/matmul.js';
export { matmul } from './ops/matmul.js';
export type { LayerNormOptions, Normalization, RmsNormOptions } from './ops/norm.js';
export { layerNorm, rmsNorm } from './ops/norm.js';
export type {
  DiceOptions,
  OverlapOptions,
  SkeletonRecallOptions,
  TverskyOptions,
} from './ops/overlap.js';
export { diceLoss, jaccardLoss, skeletonRecallLoss, tverskyLoss } from './ops/overlap.js';
export type { AvgPoolOptions, MaxPoolOptions, Pool } from './ops/pool.js';
export { avgPool2d, avgPool3d, maxPool2d, maxPool3d } from './ops/pool.js';
export { rand, randint, randn } from './ops/random.js';
export type {
  ArgOptions,
  NormalizeOptions,
  NormOptions,
  RowOptions,
  VarOptions,
} from './ops/reduce.js';
export {
  argmax,
  argmin,
  logsumexp,
  max,
  mean,
  min,
  norm,
  normalize,
  std,
  sum,
  var,
} from './ops/reduce.js';
export type { RegionWiseLossOptions, RegionWiseMapOptions } from './ops/region-wise-loss.js';
export { regionWiseLoss, regionWiseMap } from './ops/region-wise-loss.js';
export type { Inferred } from './ops/shape-ops.js';
export { expand, permute, reshape, squeeze, transpose, unsqueeze } from './ops/shape-ops.js';
export type { SinkdOptions } from './ops/sinkd.js';
export { sinkd } from './ops/sinkd.js';
export type { SinkhornOptions, SinkhornResult } from './ops/sinkhorn.js';
export { sinkhorn } from './ops/sinkhorn.js';
export type { SinkhornDivergenceOptions } from './ops/sinkhorn-divergence.js';
export { sinkhornDivergence } from './ops/sinkhorn-divergence.js';
export type { SinkhornKnoppOptions } from './ops/sinkhorn-knopp.js';
export { sinkhornKnopp } from './ops/sinkhorn-knopp.js';
export type { SinkhornPotentialsOptions } from './ops/sinkhorn-potentials.js';
export { sinkhornPotentials } from './ops/sinkhorn-potentials.js';
export type { SkeletonizeOptions, TubedSkeletonOptions } from './ops/skeletonize.js';
export { skeletonize, tubedSkeleton } from './ops/skeletonize.js';
export { pad, slice, tril, triu } from './ops/slice.js';
export type { SlicedWassersteinOptions } from './ops/sliced-wasserstein.js';
export { slicedWasserstein } from './ops/sliced-wasserstein.js';
export type { SoftSkeletonOptions } from './ops/soft-skeleton.js';
export { softSkeleton } from './ops/soft-skeleton.js';
export type { Softmax, SoftmaxOptions } from './ops/softmax.js';
export { logSoftmax, softmax } from './ops/softmax.js';
export type { Sorted, SortOptions, Topk, TopkOptions } from './ops/sort.js';
export { sort, topk } from './ops/sort.js';
export type { DiuErrorOptions, TopographLossOptions } from './ops/topograph-loss.js';
export { diuError, topographLoss } from './ops/topograph-loss.js';
export type { TopologyLossOptions } from './ops/topology-loss.js';
export { topologyLoss } from './ops/topology-loss.js';
export type { UldLossOptions } from './ops/uld-loss.js';
export { uldLoss } from './ops/uld-loss.js';
export type { WarpingLossOptions } from './ops/warping-loss.js';
export { warpingLoss } from './ops/warping-loss.js';
export { clipGradNorm } from './optim/clip.js';
export * as optim from './optim/index.js';
export { arange, eye, full, linspace, ones, zeros } from './patterns.js';
export type { ReduceOptions, Reduction, WholeReduction } from './reduction.js';
export { scope } from './scope.js';
export type { Shape } from './shape.js';
export type { MemoryUse } from './storage.js';
export { memory, releaseRecycled } from './storage.js';
export type { HookHandle } from './tensor.js';
export { Tensor } from './tensor.js';
export type { IterationOptions, TransportInfo, TransportPlan } from './transport.js';
export type { Sizes } from './windows.js';
