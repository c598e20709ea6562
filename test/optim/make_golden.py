# Writes golden.json: parameters after 1 and 50 steps of torch.optim with given gradients, float32
# and float64. Run: python test/optim/make_golden.py
import json
import pathlib

import torch

torch.manual_seed(7)
steps, shapes = 50, [[3, 4], [5]]
sizes = [12, 5]
start = torch.randn(17)
gradients = torch.randn(steps, 17) * torch.logspace(-3, 1, 17)

configs = [
    ("SGD", {"lr": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.9}),
    ("SGD", {"lr": 0.05, "momentum": 0.9, "dampening": 0.3, "weight_decay": 0.1}),
    ("SGD", {"lr": 0.05, "momentum": 0.8, "nesterov": True, "weight_decay": 0.02}),
    ("Adam", {"lr": 0.01}),
    ("Adam", {"lr": 0.02, "betas": [0.8, 0.95], "eps": 1e-4, "weight_decay": 0.1}),
    ("AdamW", {"lr": 0.01}),
    ("AdamW", {"lr": 0.03, "betas": [0.95, 0.98], "weight_decay": 0.3}),
]


def run(name, options, dtype):
    parts = start.to(dtype).split(sizes)
    params = [torch.nn.Parameter(p.reshape(s).clone()) for p, s in zip(parts, shapes)]
    optimizer = getattr(torch.optim, name)(params, foreach=False, **options)
    after = {}
    for step in range(steps):
        for p, g in zip(params, gradients[step].to(dtype).split(sizes)):
            p.grad = g.reshape(p.shape).clone()
        optimizer.step()
        if step + 1 in (1, steps):
            after[step + 1] = torch.cat([p.detach().flatten() for p in params]).tolist()
    return after


def clip(max_norm):
    p = torch.nn.Parameter(torch.zeros(17))
    p.grad = gradients[0].clone()
    norm = torch.nn.utils.clip_grad_norm_([p], max_norm)
    return {"maxNorm": max_norm, "norm": norm.item(), "grad": p.grad.tolist()}


def camel(name):
    head, *rest = name.split("_")
    return head + "".join(word.capitalize() for word in rest)


golden = {
    "torch": torch.__version__.split("+")[0],
    "shapes": shapes,
    "start": start.tolist(),
    "gradients": gradients.tolist(),
    "cases": [
        {
            "name": name,
            "options": {camel(k): v for k, v in options.items()},
            "dtype": str(dtype).split(".")[1],
            "after": run(name, options, dtype),
        }
        for name, options in configs
        for dtype in (torch.float32, torch.float64)
    ],
    "clip": [clip(0.5), clip(100.0)],
}
path = pathlib.Path(__file__).with_name("golden.json")
path.write_text(json.dumps(golden, separators=(",", ":")) + "\n")
