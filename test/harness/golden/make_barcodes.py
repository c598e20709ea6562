"""Losses of barcodes by definition: boundary matrices reduced column by column, assignments by scipy,
gradients by torch, in float64:
    python test/harness/golden/make_barcodes.py > test/harness/golden/barcodes.json
Inputs come from the generator of make_transport.py, which the tests repeat (test/harness/transport.ts).
"""

import itertools
import json

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment


def uniforms(seed, count):
    values = []
    for _ in range(count):
        seed = (1103515245 * seed + 12345) % 2**31
        values.append(seed / 2**31)
    return torch.tensor(values, dtype=torch.float64)


def numbers(t):
    return [float(f"{v:.15g}") for v in t.detach().reshape(-1).tolist()]


def cells_of(shape, k):
    """The k-cells of a grid, each as the voxels that it joins."""
    index = np.arange(np.prod(shape)).reshape(shape)
    for axes in itertools.combinations(range(len(shape)), k):
        ends = [n - (a in axes) for a, n in enumerate(shape)]
        for corner in np.ndindex(*ends):
            steps = [(0, 1) if a in axes else (0,) for a in range(len(shape))]
            yield tuple(
                sorted(int(index[tuple(np.add(corner, s))]) for s in itertools.product(*steps))
            )


def barcode(values, shape, k):
    """(birth, death) voxels of the bars of degree k of sublevels, lengths above 0."""

    def ordered(dim):
        cells = list(cells_of(shape, dim))
        return sorted(cells, key=lambda c: max(values[v] for v in c))

    rows = {cell: i for i, cell in enumerate(ordered(k))}
    names = list(rows)
    owner, pairs = {}, []
    voxel = lambda cell: max(cell, key=lambda v: values[v])
    for cell in ordered(k + 1):
        half = len(cell) // 2
        column = {rows[f] for f in itertools.combinations(cell, half) if f in rows}
        while column and max(column) in owner:
            column ^= owner[max(column)]
        if not column:
            continue
        owner[max(column)] = column
        birth, death = voxel(names[max(column)]), voxel(cell)
        if values[birth] != values[death]:
            pairs.append((birth, death))
    return pairs


def matched(ours, theirs):
    """The least cost of a matching of points, to which lone points add half their length squared."""
    a, b = ours.detach().numpy(), theirs.detach().numpy()
    n, m = len(a), len(b)
    alone = lambda x: (x[:, 0] - x[:, 1]) ** 2 / 2
    cost = np.zeros((n + m, n + m))
    cost[:n, :m] = ((a[:, None] - b[None]) ** 2).sum(-1)
    cost[:n, m:] = alone(a)[:, None]
    cost[n:, :m] = alone(b)[None]
    loss = torch.zeros((), dtype=torch.float64)
    for i, j in zip(*linear_sum_assignment(cost)):
        if i < n and j < m:
            loss = loss + ((ours[i] - theirs[j]) ** 2).sum()
        elif i < n:
            loss = loss + (ours[i, 0] - ours[i, 1]) ** 2 / 2
        elif j < m:
            loss = loss + (theirs[j, 0] - theirs[j, 1]) ** 2 / 2
    return loss


def longest(ours, wanted, first, shortest, perfect):
    lengths = (ours[:, 0] - ours[:, 1]).abs()
    loss = torch.zeros((), dtype=torch.float64)
    for rank, i in enumerate(torch.argsort(lengths, descending=True)):
        if lengths[i] <= shortest:
            continue
        if rank >= wanted:
            loss = loss + lengths[i] ** 2
        elif lengths[i] <= perfect:
            loss = loss + (ours[i, 0] - first) ** 2 + (ours[i, 1] - (1 - first)) ** 2
    return loss


def lengths_loss(ours, wanted, exponent):
    lengths = (ours[:, 0] - ours[:, 1]).abs()
    top = torch.sort(lengths, descending=True).values
    missing = max(0, wanted - len(top))
    return (1 - top[:wanted] ** exponent).sum() + (top[wanted:] ** exponent).sum() + missing


def case(shape, kind, filtration, mask, seed, **options):
    size = int(np.prod(shape))
    x, t = uniforms(seed, 2 * size).split([size, size])
    x = x.clone().requires_grad_()
    if mask:
        t = (t > 0.6).double()
    sign = 1 if filtration == "sublevel" else -1
    first = 0 if filtration == "sublevel" else 1
    bars = lambda v, k: torch.stack(
        [v[[p[i] for p in barcode((sign * v).tolist(), shape, k)]] for i in (0, 1)], -1
    )
    loss = torch.zeros((), dtype=torch.float64)
    for k in range(len(shape)):
        ours, theirs = bars(x, k), bars(t, k)
        if kind == "wasserstein":
            loss = loss + matched(ours, theirs)
        elif kind == "longest":
            loss = loss + longest(
                ours, len(theirs), first, options["minLength"], options["perfect"]
            )
        else:
            if k == 0:
                oldest = x.max() if first else x.min()
                end = torch.tensor(1.0 - first, dtype=torch.float64)
                ours = torch.cat([ours, torch.stack([oldest, end])[None]])
            loss = loss + lengths_loss(ours, options["bettiNumbers"][k], options["exponent"])
    loss.backward()
    return {
        "shape": shape,
        "kind": kind,
        "mask": mask,
        "seed": seed,
        "options": {"filtration": filtration, **options},
        "loss": numbers(loss)[0],
        "grad": numbers(x.grad),
    }


cases = [
    case([30], "wasserstein", "superlevel", True, 1),
    case([30], "wasserstein", "sublevel", False, 2),
    case([7, 8], "wasserstein", "superlevel", True, 3),
    case([7, 8], "wasserstein", "sublevel", False, 4),
    case([8, 9], "wasserstein", "superlevel", False, 5),
    case([4, 4, 5], "wasserstein", "superlevel", True, 6),
    case([4, 4, 5], "wasserstein", "superlevel", False, 7),
    case([9, 8], "longest", "superlevel", True, 8, minLength=0.03, perfect=0.99),
    case([9, 8], "longest", "sublevel", True, 9, minLength=0.2, perfect=0.6),
    case([4, 4, 4], "longest", "superlevel", True, 10, minLength=0.05, perfect=0.7),
    case([7, 8], "lengths", "superlevel", False, 11, bettiNumbers=[1, 1], exponent=2),
    case([7, 8], "lengths", "sublevel", False, 12, bettiNumbers=[2, 0], exponent=1),
    case([4, 4, 4], "lengths", "superlevel", False, 13, bettiNumbers=[1, 0, 3], exponent=1.5),
]
print(json.dumps({"torch": torch.__version__, "cases": cases}))
