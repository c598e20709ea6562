"""Writes skeletons.json: soft skeletons, clDice and skeleton recall losses by torch in float64.

Run: python test/harness/golden/make_skeletons.py   (torch 2.13)
The pooling and the losses are written after the papers' formulas; gradients are torch's autograd,
whose choice among equal values the test asks for. Inputs follow from their shapes by `fill`, which
the test repeats.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F


def fill(shape, seed, steps):
    """Multiples of 1/steps in [0, 1]: with ties in most windows."""
    n = math.prod(shape)
    values = [(i + 1) * (7919 + 104729 * seed) // 31 % (steps + 1) / steps for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape)


def pooled(x, sizes):
    pool = F.max_pool2d if x.dim() == 4 else F.max_pool3d
    return pool(x, sizes, 1, [s // 2 for s in sizes])


def erode(x):
    axes = x.dim() - 2
    result = None
    for axis in range(axes):
        least = -pooled(-x, [3 if k == axis else 1 for k in range(axes)])
        result = least if result is None else torch.min(result, least)
    return result


def skeleton(x, iterations):
    result = None
    for _ in range(iterations + 1):
        eroded = erode(x)
        ridge = F.relu(x - pooled(eroded, [3] * (x.dim() - 2)))
        result = ridge if result is None else result + F.relu(ridge - result * ridge)
        x = eroded
    return result


def cl_dice(p, y, iterations, weight):
    of_p, of_y = skeleton(p, iterations), skeleton(y, iterations)
    a = ((of_p * y).sum() + 1) / (of_p.sum() + 1)
    b = ((of_y * p).sum() + 1) / (of_y.sum() + 1)
    dice = 1 - (2 * (p * y).sum() + 1) / (p.sum() + y.sum() + 1)
    return (1 - weight) * (1 - 2 * a * b / (a + b)) + weight * dice


def recall(p, tube, over_batch):
    axes = tuple(range(2, p.dim()))
    hit, size = (p * tube).sum(axes)[:, 1:], tube.sum(axes)[:, 1:]
    if over_batch:
        hit, size = hit.sum(0), size.sum(0)
    return -((hit + 1) / torch.clip(size + 1, 1e-8)).mean()


def numbers(t):
    return [float(f"{v:.12g}") for v in t.detach().flatten().tolist()]


def cases():
    for shape, iterations, steps in (
        ([2, 1, 7, 9], 3, 4), ([1, 2, 12, 10], 4, 64), ([1, 1, 1, 6], 2, 3), ([1, 1, 6, 1], 0, 3),
        ([1, 1, 5, 6, 7], 2, 5), ([1, 2, 1, 5, 4], 1, 3), ([1, 1, 3, 4, 20], 4, 3),
    ):
        x = fill(shape, 1, steps).requires_grad_()
        s = skeleton(x, iterations)
        s.backward(fill(shape, 2, 8) - 0.5)
        yield dict(kind="skeleton", shape=shape, steps=steps, iterations=iterations,
                   values=numbers(s), gradient=numbers(x.grad))
    for shape, iterations, weight in (
        ([2, 1, 9, 8], 10, 0.0), ([1, 2, 8, 9], 3, 0.5), ([1, 1, 4, 5, 6], 2, 0.25),
    ):
        x = fill(shape, 3, 16).requires_grad_()
        y = (fill(shape, 4, 4) > 0.4).double()
        loss = cl_dice(x, y, iterations, weight)
        loss.backward()
        yield dict(kind="clDice", shape=shape, iterations=iterations, diceWeight=weight,
                   values=numbers(loss), gradient=numbers(x.grad))
    for shape, over_batch in (([2, 3, 5, 6], False), ([2, 3, 5, 6], True), ([1, 2, 3, 4, 5], False)):
        x = fill(shape, 5, 16).requires_grad_()
        tube = (fill(shape, 6, 4) > 0.6).double()
        loss = recall(x, tube, over_batch)
        loss.backward()
        yield dict(kind="recall", shape=shape, overBatch=over_batch, values=numbers(loss),
                   gradient=numbers(x.grad))


if __name__ == "__main__":
    path = pathlib.Path(__file__).parent / "skeletons.json"
    lines = ",\n".join(json.dumps(c) for c in cases())
    path.write_text(f'{{"torch": "{torch.__version__}", "cases": [\n{lines}\n]}}\n')
