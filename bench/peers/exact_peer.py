"""POT for the bench of exact transport, by the protocol of torch_peer.py, where installed."""

import torch
from transport_peer import ot, uniform


def weights(seed, n):
    w = uniform(seed, (n,)).double() + 0.1
    return w / w.sum()


class Emd:
    """The network simplex of a given cost of float64."""

    def __init__(self, n, d, weighted, seed):
        x, y = uniform(seed, (n, d)).double(), (uniform(seed + 1, (n, d)) * 0.8 + 0.2).double()
        self.cost = (((x[:, None] - y[None]) ** 2).sum(-1) / 2).numpy()
        even = torch.full((n,), 1 / n, dtype=torch.float64)
        sides = [weights(seed + 2 + k, n) if weighted else even for k in (0, 1)]
        self.a, self.b = (w.numpy() for w in sides)
        self.ways = {"pot": self.pot} if ot else {}

    def tidy(self):
        pass

    def pot(self, _):
        ot.emd2(self.a, self.b, self.cost, numItermax=10**7)


class Lines:
    """On the line (d = 0) or on random directions, forward and gradient in x."""

    def __init__(self, n, d, projections, seed):
        shape = (n, d) if d else (n,)
        self.x = uniform(seed, shape).requires_grad_()
        self.y = uniform(seed + 1, shape)
        self.projections = projections
        self.ways = {"pot": self.sliced if d else self.line} if ot else {}

    def tidy(self):
        self.x.grad = None

    def line(self, _):
        ot.wasserstein_1d(self.x, self.y, p=2).backward()

    def sliced(self, _):
        ot.sliced_wasserstein_distance(self.x, self.y, n_projections=self.projections, seed=1).backward()


KINDS = {"emd": Emd, "lines": Lines}
