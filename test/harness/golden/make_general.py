"""Writes general.jsonl: torch's float64 results and gradients at the corners of the options.

Run: python test/harness/golden/make_general.py   (torch 2.13)
Inputs follow from their shapes by `fill`, which the test repeats; the upstream gradient too.
"""

import json
import math
import pathlib

import torch
import torch.nn.functional as F

NAMES = {
    "kernelSize": "kernel_size", "ceilMode": "ceil_mode", "countIncludePad": "count_include_pad",
    "divisorOverride": "divisor_override", "outputPadding": "output_padding",
    "alignCorners": "align_corners", "scaleFactor": "scale_factor", "numGroups": "num_groups",
}
FUNCTIONS = {
    "maxPool2d": F.max_pool2d, "maxPool3d": F.max_pool3d, "avgPool2d": F.avg_pool2d,
    "avgPool3d": F.avg_pool3d, "conv2d": F.conv2d, "conv3d": F.conv3d,
    "convTranspose2d": F.conv_transpose2d, "convTranspose3d": F.conv_transpose3d,
    "interpolate": F.interpolate, "groupNorm": F.group_norm, "batchNorm": F.batch_norm,
    "cdist": torch.cdist, "cumsum": torch.cumsum, "sort": torch.sort, "topk": torch.topk,
}


def fill(shape, seed):
    """Multiples of 1/64 in [-4, 4): exact in float32, with ties."""
    n = math.prod(shape)
    values = [((i + 1) * (7919 + 104729 * seed) // 31 % 512 - 256) / 64 for i in range(n)]
    return torch.tensor(values, dtype=torch.float64).reshape(shape).requires_grad_()


def rounded(t):
    return [float(f"{v:.12g}") for v in t.detach().double().flatten().tolist()]


def case(op, shapes, tensors=None, **options):
    inputs = [fill(s, i) for i, s in enumerate(shapes)]
    named = {k: fill(s, 10 + i) for i, (k, s) in enumerate((tensors or {}).items())}
    given = {NAMES.get(k, k): tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    if op == "batchNorm":
        given = dict(running_mean=None, running_var=None, **given)
    if op == "cdist" and given.get("p") == "Infinity":
        given["p"] = math.inf
    y = FUNCTIONS[op](*inputs, **named, **given)
    record = dict(op=op, shapes=shapes, tensors=tensors or {}, options=options)
    if op in ("sort", "topk"):
        record["indices"] = y.indices.flatten().tolist()
        y = y.values
    y.backward(fill(list(y.shape), 20).detach())
    grads = [rounded(t.grad) for t in [*inputs, *named.values()]]
    return dict(record, shape=list(y.shape), values=rounded(y), gradients=grads)


def cases():
    for ceil in (False, True):
        for kernel, stride, padding in ((2, 2, 0), (3, 2, 1), ([3, 2], [1, 3], [1, 0])):
            common = dict(kernelSize=kernel, stride=stride, padding=padding, ceilMode=ceil)
            yield case("maxPool2d", [[1, 2, 6, 7]], **common)
            yield case("avgPool2d", [[1, 2, 6, 7]], **common)
            yield case("avgPool2d", [[1, 1, 5, 6]], countIncludePad=False, **common)
        yield case("maxPool3d", [[1, 1, 4, 5, 4]], kernelSize=2, stride=2, padding=1, ceilMode=ceil)
        yield case("avgPool3d", [[1, 1, 4, 5, 4]], kernelSize=2, stride=3, padding=1, ceilMode=ceil)
    yield case("maxPool2d", [[1, 1, 9, 8]], kernelSize=3, stride=2, padding=1, dilation=2)
    yield case("avgPool2d", [[1, 1, 6, 6]], kernelSize=3, divisorOverride=4)
    for padding in ("same", "valid", 2, [1, 0]):
        yield case("conv2d", [[1, 2, 5, 6], [3, 2, 3, 2]], {"bias": [3]}, padding=padding)
    yield case("conv2d", [[1, 4, 7, 6], [4, 2, 2, 3]], stride=[2, 3], padding=1, dilation=2, groups=2)
    yield case("conv3d", [[1, 2, 3, 4, 3], [2, 1, 2, 2, 2]], {"bias": [2]}, padding=1, groups=2)
    yield case("convTranspose2d", [[1, 2, 3, 3], [2, 2, 3, 2]], {"bias": [2]}, stride=2, padding=1,
               outputPadding=1)
    yield case("convTranspose2d", [[1, 4, 3, 2], [4, 1, 3, 2]], stride=[3, 1], dilation=[1, 2],
               groups=2)
    yield case("convTranspose3d", [[1, 2, 2, 2, 2], [2, 1, 2, 2, 3]], stride=2, padding=[0, 1, 1],
               outputPadding=[1, 0, 0])
    for mode, shape, size in (("nearest", [1, 1, 5, 6], [8, 4]), ("bilinear", [1, 1, 5, 6], [8, 4]),
                              ("trilinear", [1, 1, 2, 3, 4], [3, 5, 2]),
                              ("linear", [1, 2, 5], [7]), ("nearest", [1, 1, 7], [3])):
        yield case("interpolate", [shape], mode=mode, size=size)
        yield case("interpolate", [shape], mode=mode, scaleFactor=[1.7] * len(size))
        if mode != "nearest":
            yield case("interpolate", [shape], mode=mode, size=size, alignCorners=True)
            yield case("interpolate", [shape], mode=mode, scaleFactor=[1.7] * len(size),
                       alignCorners=True)
    yield case("groupNorm", [[2, 4, 3]], {"weight": [4], "bias": [4]}, numGroups=2)
    yield case("groupNorm", [[2, 6, 2, 2]], numGroups=3, eps=0.1)
    yield case("batchNorm", [[3, 4, 2]], {"weight": [4], "bias": [4]}, training=True, eps=1e-3)
    for p in (0.0, 0.5, 1.0, 2.0, 3.0, "Infinity"):
        yield case("cdist", [[2, 3, 4], [2, 4, 4]], p=p)
    for dim in (0, 1, -1):
        yield case("cumsum", [[3, 4, 2]], dim=dim)
        yield case("sort", [[3, 4, 2]], dim=dim, stable=True)
        yield case("sort", [[3, 4, 2]], dim=dim, descending=True, stable=True)
        yield case("topk", [[5, 4, 6]], k=3, dim=dim)
        yield case("topk", [[5, 4, 6]], k=2, dim=dim, largest=False)


if __name__ == "__main__":
    lines = [json.dumps(dict(torch=torch.__version__)), *(json.dumps(c) for c in cases())]
    path = pathlib.Path(__file__).parent / "general.jsonl"
    path.write_text("\n".join(lines) + "\n")
