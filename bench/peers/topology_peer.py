"""Plain forms of losses of topology, one name a line on stdin, milliseconds on stdout (-1: none):
region-wise loss with scipy's distance transform, warping with a labelling of each pixel's
neighbourhood by scipy, Topograph with a labelling and a graph in Python. Forward and backward in
torch, one thread."""

import sys
import time

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage

torch.set_num_threads(1)
N = int(sys.argv[1])
rng = np.random.default_rng(0)


def smooth():
    x = ndimage.gaussian_filter(rng.standard_normal((N, N)), 4.5, mode="nearest")
    return x / x.std()


BASE = smooth()
SCORES = 2 * (0.9 * BASE + 0.45 * smooth()) + 0.1 * rng.standard_normal((N, N))
LABELS = torch.tensor((BASE > 0).astype(np.int64))[None]
LOGITS = torch.tensor(np.stack([-SCORES / 2, SCORES / 2])[None], dtype=torch.float32)


def region_wise(x):
    maps = []
    for c in range(2):
        mask = (LABELS[0] == c).numpy()
        d = ndimage.distance_transform_edt(mask)
        maps.append(np.where(mask, -d / d.max(), 1))
    z = torch.tensor(np.stack(maps)[None], dtype=torch.float32)
    return (F.softmax(x, 1) * z).mean()


def is_simple(patch):
    _, fore = ndimage.label(patch)
    _, back = ndimage.label(1 - patch, structure=np.ones((3, 3)))
    return fore * back == 1


def warped(start, other):
    mask = np.pad(start, 1)
    for was in (1, 0):
        d = ndimage.distance_transform_edt(start == was) * ((start == was) & (other != was))
        where = np.argwhere(d > 0)
        for y, x in where[np.argsort(d[d > 0], kind="stable")]:
            if is_simple(mask[y : y + 3, x : x + 3]):
                mask[y + 1, x + 1] ^= 1
    return mask[1:-1, 1:-1]


def warping(x):
    pred = x.argmax(1)[0].numpy()
    true = LABELS[0].numpy()
    critical = (warped(true, pred) != pred) | (warped(pred, true) != true)
    loss = F.cross_entropy(x, LABELS, reduction="none")
    return (loss * torch.tensor(critical)[None]).sum() / critical.size


def topograph(x):
    pred, true = x.argmax(1)[0].numpy(), LABELS[0].numpy()
    p = F.softmax(x, 1)[0]
    loss = 0
    for c in range(2):
        kinds = (pred == c) + 2 * (true == c)
        regions, count = np.zeros((N, N), int), 0
        for k in range(4):
            own, n = ndimage.label(kinds == k, structure=np.ones((3, 3)) if k else None)
            regions += np.where(own > 0, own - 1 + count, 0)
            count += n
        kind = np.zeros(count, int)
        kind[regions.ravel()] = kinds.ravel()
        beside = [set() for _ in range(count)]
        for a, b in ((regions[1:], regions[:-1]), (regions[:, 1:], regions[:, :-1])):
            for i, j in np.unique(np.stack([a[a != b], b[a != b]]), axis=1).T:
                beside[i].add(j)
                beside[j].add(i)
        whole = [ndimage.label(m == c, structure=np.ones((3, 3)))[0] for m in (pred, true)]
        first = np.zeros(count, int)
        first[regions.ravel()[::-1]] = np.arange(N * N)[::-1]
        for r in np.nonzero((kind == 1) | (kind == 2))[0]:
            mask = whole[1] if kind[r] == 1 else whole[0]
            back = sum(kind[s] == 0 for s in beside[r])
            fore = {mask.ravel()[first[s]] for s in beside[r] if kind[s] != 0}
            if back != 1 or len(fore) != 1:
                where = torch.tensor(regions == r)
                loss = loss + p.gather(0, torch.tensor(pred)[None])[0][where].mean()
    return loss / 2


PLAIN = {"regionWiseLoss": region_wise, "warpingLoss": warping, "topographLoss": topograph}

for line in sys.stdin:
    f = PLAIN.get(line.strip())
    if f is None:
        print(-1, flush=True)
        continue
    x = LOGITS.clone().requires_grad_()
    start = time.perf_counter()
    f(x).backward()
    print((time.perf_counter() - start) * 1000, flush=True)
