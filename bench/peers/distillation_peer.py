"""The official formulations of matrix scaling, distillation and sequence losses, in torch, for the
distillation bench, by the protocol of torch_peer.py. Every way is forward and backward.
"""

import torch
import torch.nn.functional as F
from torch_peer import classes, normal


class Case:
    def __init__(self):
        self.ways = {"official": self.official}

    def tidy(self):
        for t in vars(self).values():
            if isinstance(t, torch.Tensor):
                t.grad = None


def scaled(k, iterations):
    for _ in range(iterations):
        k = k / k.sum(-1, keepdim=True)
        k = k / k.sum(-2, keepdim=True)
    return k


class SinkhornKnopp(Case):
    """Unrolled; the upstream gradient is a fixed random one."""

    def __init__(self, batch, n, iterations, seed):
        super().__init__()
        self.x = normal(seed, (batch, n, n), 1.0, "float32").requires_grad_()
        self.up = normal(seed + 1, (batch, n, n), 1.0, "float32")
        self.iterations = iterations

    def official(self, _):
        scaled(self.x.exp(), self.iterations).backward(self.up)


class Sinkd(Case):
    def __init__(self, b, v, seed):
        super().__init__()
        self.student = normal(seed, (b, v), 2.0, "float32").requires_grad_()
        self.teacher = normal(seed + 1, (b, v), 2.0, "float32")

    def official(self, _):
        p = torch.softmax(self.student / 2, -1)
        with torch.no_grad():
            q = torch.softmax(self.teacher / 2, -1)
        w = torch.cdist(p, q, p=1)
        (scaled(torch.exp(-w / 0.1), 20) * w).sum().backward()


class Uld(Case):
    def __init__(self, n, v, seed):
        super().__init__()
        self.student = normal(seed, (n, v), 2.0, "float32").requires_grad_()
        self.teacher = normal(seed + 1, (n, v), 3.0, "float32")
        self.target = classes(seed + 2, n, v)
        self.ways["cross-entropy"] = self.cross_entropy

    def official(self, _):
        p = torch.softmax(self.student, -1).sort(-1, descending=True).values
        q = torch.softmax(self.teacher, -1).sort(-1, descending=True).values
        (p - q).abs().sum(-1).mean().backward()

    def cross_entropy(self, _):
        F.cross_entropy(self.student, self.target).backward()


class Emo(Case):
    """On logits from a fixed embedding; `head`: from x through the head, which is the embedding."""

    def __init__(self, n, v, d, seed):
        super().__init__()
        self.x = normal(seed, (n, d), 1.0, "float32").requires_grad_()
        self.weight = normal(seed + 1, (v, d), 2.0 / d**0.5, "float32").requires_grad_()
        self.logits = normal(seed + 2, (n, v), 2.0, "float32").requires_grad_()
        self.target = classes(seed + 3, n, v)
        self.ways["head"] = self.head
        self.ways["cross-entropy"] = self.cross_entropy

    def loss(self, logits):
        mle = F.cross_entropy(logits, self.target, reduction="none")
        one_hot = torch.zeros_like(logits).scatter_(-1, self.target[:, None], 1) + 1e-15
        q = torch.softmax(logits, -1)
        q = q - (q * one_hot).detach()
        with torch.no_grad():
            e = F.normalize(self.weight, dim=-1)
            p = one_hot @ e
        emo = 1 - ((q @ e) * p).sum(-1)
        return (0.5 * ((mle / (emo + 1e-10)).detach() * emo + mle)).mean()

    def official(self, _):
        self.loss(self.logits).backward()

    def head(self, _):
        self.loss(self.x @ self.weight.T).backward()

    def cross_entropy(self, _):
        F.cross_entropy(self.logits, self.target).backward()


KINDS = {"sinkhornKnopp": SinkhornKnopp, "sinkd": Sinkd, "uld": Uld, "emo": Emo}
