"""GeomLoss and POT for the transport bench, by the protocol of torch_peer.py, where installed.

The data are those of bench/harness/data.ts (a counter-based hash).
"""

import numpy as np
import torch
from torch_peer import key, mix

try:
    import geomloss
except ImportError:
    geomloss = None
try:
    import ot
except ImportError:
    ot = None


def uniform(seed, shape):
    ids = mix(np.arange(int(np.prod(shape)), dtype=np.uint32) + key(seed))
    return torch.from_numpy((ids / 2.0**32).astype(np.float32).reshape(shape))


SCALINGS = (0.5, 0.7, 0.9, 0.95, 0.99, 0.995)


class Sinkhorn:
    """Forward and gradient in x: GeomLoss's divergence, POT's exact distance and its batches."""

    def __init__(self, batch, n, d, blur, seed, iterations=20):
        shape = (batch, n, d) if batch > 1 else (n, d)
        self.x = uniform(seed, shape).requires_grad_()
        self.y = uniform(seed + 1, shape) * 0.8 + 0.2
        self.blur, self.iterations, self.scaling = blur, iterations, None
        self.ways = {}
        if geomloss:
            self.ways["geomloss"] = self.geomloss
        if geomloss and batch == 1:
            self.ways["geomloss converged"] = self.converged
        if ot and batch == 1:
            self.ways["exact"] = self.exact
        if ot and batch > 1 and hasattr(ot, "solve_batch"):
            self.ways["pot batch"] = self.pot_batch

    def tidy(self):
        self.x.grad = None

    def loss(self, scaling, potentials=False):
        return geomloss.SamplesLoss(
            "sinkhorn",
            p=2,
            blur=self.blur,
            scaling=scaling,
            debias=not potentials,
            potentials=potentials,
            backend="tensorized",
        )

    def geomloss(self, _):
        self.loss(0.5)(self.x, self.y).sum().backward()

    def error(self, scaling):
        with torch.no_grad():
            x, y = self.x.double(), self.y.double()
            f, g = self.loss(scaling, potentials=True)(x, y)
            n, eps = len(x), self.blur**2
            cost = ((x[:, None] - y[None]) ** 2).sum(-1) / 2
            plan = ((f.view(-1, 1) + g.view(1, -1) - cost) / eps).exp() / n**2
            return max((plan.sum(k) - 1 / n).abs().sum().item() for k in (0, 1))

    def tune(self):
        """The first scaling whose plan meets 1e-3, or the last, and its error.

        Debiased or not, its plan between x and y is the same.
        """
        for self.scaling in SCALINGS:
            error = self.error(self.scaling)
            if error <= 1e-3:
                break
        return f"{self.scaling} {error}"

    def converged(self, _):
        self.loss(self.scaling or SCALINGS[-1])(self.x, self.y).backward()

    def exact(self, _):
        x, y = self.x.detach().double(), self.y.double()
        cost = (((x[:, None] - y[None]) ** 2).sum(-1) / 2).numpy()
        a = ot.unif(len(x))
        ot.emd2(a, a, cost, numItermax=10**7)

    def pot_batch(self, _):
        cost = ((self.x[:, :, None] - self.y[:, None]) ** 2).sum(-1) / 2
        answer = ot.solve_batch(
            cost, self.blur**2, max_iter=self.iterations, tol=0, reg_type="kl", grad="envelope"
        )
        answer.value.sum().backward()

