"""Weighted clouds of a generator that test/harness/transport.ts repeats."""

import torch


def uniforms(seed, count):
    values = []
    for _ in range(count):
        seed = (1103515245 * seed + 12345) % 2**31
        values.append(seed / 2**31)
    return torch.tensor(values, dtype=torch.float64)


def clouds(batch, n, m, d, seed):
    u = uniforms(seed, batch * (n * d + m * d + n + m))
    x, y, a, b = u.split([batch * n * d, batch * m * d, batch * n, batch * m])
    a, b = a.view(batch, n) + 0.5, b.view(batch, m) + 0.5
    weights = a / a.sum(1, keepdim=True), b / b.sum(1, keepdim=True)
    return x.view(batch, n, d), y.view(batch, m, d), *weights
