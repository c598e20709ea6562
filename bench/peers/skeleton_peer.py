"""clDice and its soft skeletons in PyTorch, as the paper's code composes them of poolings."""

import torch
import torch.nn.functional as F
from torch_peer import normal


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


def opened(x):
    return pooled(erode(x), [3] * (x.dim() - 2))


def skeleton(x, iterations):
    """Erosions are taken twice, once to open: the official code's order and cost."""
    result = F.relu(x - opened(x))
    for _ in range(iterations):
        x = erode(x)
        ridge = F.relu(x - opened(x))
        result = result + F.relu(ridge - result * ridge)
    return result


class ClDice:
    def __init__(self, shape, iterations, seed):
        self.p = torch.sigmoid(normal(seed, shape, 1.0, "float32")).requires_grad_()
        self.y = (normal(seed + 1, shape, 1.0, "float32") > 0).float()
        self.iterations = iterations
        self.ways = {"forward": self.forward, "forward + backward": self.both}

    def tidy(self):
        self.p.grad = None

    def loss(self):
        of_p, of_y = (skeleton(x, self.iterations) for x in (self.p, self.y))
        a = ((of_p * self.y).sum() + 1) / (of_p.sum() + 1)
        b = ((of_y * self.p).sum() + 1) / (of_y.sum() + 1)
        return 1 - 2 * a * b / (a + b)

    def forward(self, s):
        with torch.no_grad():
            return self.loss()

    def both(self, s):
        loss = self.loss()
        loss.backward()
        return loss
