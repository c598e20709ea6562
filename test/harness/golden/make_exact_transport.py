"""Answers of POT in float64 for test/ops/{emd,emd1d,sliced-wasserstein}.test.ts:
    python test/harness/golden/make_exact_transport.py > test/harness/golden/exact-transport.json
Inputs come from the generator of transport_clouds.py.
"""

import json

import numpy as np
import ot
from transport_clouds import clouds, uniforms


def arrays(n, m, d, seed):
    return (t[0].numpy() for t in clouds(1, n, m, d, seed))


def line_cases():
    for n, m, seed in ((7, 5, 1), (12, 12, 2), (1, 6, 3)):
        for p in (1, 2, 3):
            x, y, a, b = arrays(n, m, 1, seed)
            value = ot.wasserstein_1d(x[:, 0], y[:, 0], a, b, p=p)
            yield dict(n=n, m=m, p=p, seed=seed, value=float(value))


def sliced_cases():
    for n, m, d, seed in ((7, 5, 3, 1), (9, 9, 2, 4)):
        for p in (1, 2):
            x, y, a, b = arrays(n, m, d, seed)
            directions = uniforms(seed + 10, 20 * d).numpy().reshape(20, d) - 0.5
            directions /= np.linalg.norm(directions, axis=1, keepdims=True)
            root = ot.sliced_wasserstein_distance(x, y, a, b, projections=directions.T, p=p)
            yield dict(n=n, m=m, d=d, p=p, seed=seed, value=float(root) ** p)


def exact_cases():
    for n, m, seed in ((7, 5, 1), (12, 12, 2), (1, 6, 3), (40, 23, 4)):
        for metric in ("sqeuclidean", "euclidean", "cosine"):
            x, y, a, b = arrays(n, m, 3, seed)
            cost = ot.dist(x, y, metric=metric) * (0.5 if metric == "sqeuclidean" else 1)
            value, log = ot.emd2(a, b, cost, log=True)
            yield dict(n=n, m=m, metric=metric, seed=seed, value=float(value))


if __name__ == "__main__":
    answers = dict(
        version=ot.__version__,
        lines=list(line_cases()),
        sliced=list(sliced_cases()),
        exact=list(exact_cases()),
    )
    print(json.dumps(answers, indent=1))
