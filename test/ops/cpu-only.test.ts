// Operations without a CUDA form refuse tensors of a device by name, before any kernel runs.
import { describe, test } from 'vitest';
import * as sp from '../../src/index.js';
import { isOnCpu } from '../harness/device.js';
import { refuser } from '../harness/refusal.js';

describe.skipIf(isOnCpu)('on a device', () => {
  const image = () => sp.ones([1, 2, 4, 4]);
  const volume = () => sp.ones([1, 2, 4, 4, 4]);
  const calls: Record<string, () => unknown> = {
    cumsum: () => sp.cumsum(image()),
    sort: () => sp.sort(image()),
    topk: () => sp.topk(image(), 1),
    maxPool2d: () => sp.maxPool2d(image(), 2),
    maxPool3d: () => sp.maxPool3d(volume(), 2),
    avgPool2d: () => sp.avgPool2d(image(), 2),
    avgPool3d: () => sp.avgPool3d(volume(), 2),
    groupNorm: () => sp.groupNorm(image(), 2),
    batchNorm: () => sp.batchNorm(image(), { training: true }),
    interpolate: () => sp.interpolate(image(), { size: 2 }),
    cdist: () => sp.cdist(image(), image()),
    barcodeLengthLoss: () => sp.barcodeLengthLoss(image(), { bettiNumbers: [1, 0] }),
    topologyLoss: () => sp.topologyLoss(image(), image()),
    clDice: () => sp.clDice(image(), image()),
    softSkeleton: () => sp.softSkeleton(image()),
    skeletonize: () => sp.skeletonize(image()),
    tubedSkeleton: () => sp.tubedSkeleton(image()),
    skeletonRecallLoss: () => sp.skeletonRecallLoss(image(), image()),
    regionWiseLoss: () => sp.regionWiseLoss(image(), image()),
    regionWiseMap: () => sp.regionWiseMap(image()),
    warpingLoss: () => sp.warpingLoss(image(), image()),
    topographLoss: () => sp.topographLoss(image(), image()),
    diuError: () => sp.diuError(image(), image()),
    diceLoss: () => sp.diceLoss(image(), image()),
    focalLoss: () => sp.focalLoss(image(), image()),
    jaccardLoss: () => sp.jaccardLoss(image(), image()),
    tverskyLoss: () => sp.tverskyLoss(image(), image()),
    emd: () => sp.emd(sp.ones([2, 3])),
    conv2d: () => sp.conv2d(image(), sp.ones([2, 2, 1, 1])),
    conv3d: () => sp.conv3d(volume(), sp.ones([2, 2, 1, 1, 1])),
    convTranspose2d: () => sp.convTranspose2d(image(), sp.ones([2, 2, 1, 1])),
    convTranspose3d: () => sp.convTranspose3d(volume(), sp.ones([2, 2, 1, 1, 1])),
  };
  test.each(Object.keys(calls))('%s', (name) => {
    refuser(name)(calls[name], 'ERR_DEVICE', 'no CUDA form yet', ".to('cpu')");
  });
});
