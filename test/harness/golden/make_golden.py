"""Writes cross-entropy.jsonl and linear-cross-entropy.jsonl: torch's float64 losses and gradients.

Run: python test/harness/golden/make_golden.py   (torch 2.13, numpy)
The first line holds the inputs, every other line one case: its options and torch's answer.
Only what torch has: reduction, class weights, ignore_index, label smoothing, probability targets.
"""

import itertools
import json
import pathlib

import numpy as np
import torch
import torch.nn.functional as F

HERE = pathlib.Path(__file__).parent
N, V, D = 5, 7, 3
REDUCTIONS = ["mean", "sum", "none"]


def numbers(tensor):
    return tensor.detach().double().flatten().tolist()


def differentiate(loss, upstream, inputs):
    seed = upstream if loss.dim() else upstream[0]
    grads = torch.autograd.grad(loss, inputs, seed, allow_unused=True)
    return [numbers(torch.zeros_like(x) if g is None else g) for x, g in zip(inputs, grads)]


def draw(seed):
    rng = np.random.default_rng(seed)
    return {
        "logits": torch.from_numpy(rng.normal(0, 3, (N, V))),
        "indices": torch.tensor([3, 0, -100, 6, 2]),
        "probabilities": torch.from_numpy(rng.dirichlet(np.ones(V), N)),
        "classWeight": torch.from_numpy(rng.uniform(0, 2, V)),
        "upstream": torch.from_numpy(rng.normal(0, 1, N)),
        "x": torch.from_numpy(rng.normal(0, 1, (N, D))),
        "weight": torch.from_numpy(rng.normal(0, 1, (V, D))),
        "bias": torch.from_numpy(rng.normal(0, 1, V)),
    }


def cross_entropy_cases(data):
    grid = itertools.product(REDUCTIONS, [0.0, 0.1, 0.9], [False, True], [None, -100, 3])
    for reduction, smoothing, weighted, ignore in grid:
        logits = data["logits"].clone().requires_grad_()
        weight = data["classWeight"] if weighted else None
        common = dict(weight=weight, reduction=reduction, label_smoothing=smoothing)
        options = dict(reduction=reduction, labelSmoothing=smoothing, weighted=weighted)
        if ignore is None:
            target = data["probabilities"].clone().requires_grad_()
            loss = F.cross_entropy(logits, target, **common)
            grads = differentiate(loss, data["upstream"], [logits, target])
            yield dict(options, loss=numbers(loss), gradLogits=grads[0], gradTarget=grads[1])
        else:
            # -100 is no class, so the other runs ignore a class inside [0, V).
            target = data["indices"] if ignore == -100 else data["indices"].abs() % V
            loss = F.cross_entropy(logits, target, ignore_index=ignore, **common)
            grads = differentiate(loss, data["upstream"], [logits])
            yield dict(options, ignoreIndex=ignore, indices=target.tolist(), loss=numbers(loss),
                       gradLogits=grads[0])


def linear_cases(data):
    grid = itertools.product(REDUCTIONS, [0.0, 0.1], [False, True], [False, True])
    for reduction, smoothing, weighted, biased in grid:
        inputs = [data[name].clone().requires_grad_() for name in ("x", "weight", "bias")]
        logits = F.linear(inputs[0], inputs[1], inputs[2] if biased else None)
        loss = F.cross_entropy(logits, data["indices"], reduction=reduction,
                               weight=data["classWeight"] if weighted else None,
                               label_smoothing=smoothing)
        grads = differentiate(loss, data["upstream"], inputs)
        yield dict(reduction=reduction, labelSmoothing=smoothing, weighted=weighted,
                   biased=biased, loss=numbers(loss), gradX=grads[0], gradWeight=grads[1],
                   gradBias=grads[2])


def write(name, data, keys, cases):
    inputs = {key: data[key].tolist() if key == "indices" else numbers(data[key]) for key in keys}
    head = dict(torch=torch.__version__, rows=N, classes=V, width=D, inputs=inputs)
    lines = [json.dumps(line) for line in [head, *cases]]
    (HERE / name).write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    values = draw(7)
    write("cross-entropy.jsonl", values,
          ["logits", "probabilities", "classWeight", "upstream"], cross_entropy_cases(values))
    write("linear-cross-entropy.jsonl", values,
          ["x", "weight", "bias", "indices", "classWeight", "upstream"], linear_cases(values))
