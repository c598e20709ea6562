"""PyTorch on a GPU as a bench peer: one JSON command a line on stdin, one JSON reply a line.

Data are random of the same distribution as ours, made on the device. A run gives the milliseconds
of one call, from replays of a CUDA graph with several calls on rotating inputs, as ours does; what
cannot be captured is timed as plain calls. Ways: 'torch' as it comes (heads by
linear_cross_entropy where torch has it), 'torch compile'; for
crossEntropy also 'liger' and 'quack', for heads those and 'cut cross-entropy', for transport
'geomloss', where they are installed.

With --rehearse it takes no commands: every operation runs once on the CPU, in small.
"""

import argparse
import json
import os
import sys
import time

import torch
import torch.nn.functional as F

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
LEAST_SECONDS = 0.02
device = "cuda"


def randn(shape, dtype, grad=False):
    return torch.randn(shape, device=device, dtype=DTYPES[dtype]).requires_grad_(grad)


def gradient_of(f):
    def run(*inputs):
        return torch.autograd.grad(f(*inputs), [t for t in inputs if t.requires_grad])

    return run


def rows(n, v, dtype, grad=False):
    return [randn((n, v), dtype, grad)]


def labelled(n, v, dtype, grad=False):
    return rows(n, v, dtype, grad) + [torch.randint(v, (n,), device=device)]


def normed(n, v, dtype, grad=False):
    return rows(n, v, dtype, grad) + [randn((v,), dtype), randn((v,), dtype)]


def learned(n, v, dtype):
    weights = [randn((v,), dtype, True), randn((v,), dtype, True)]
    return rows(n, v, dtype, True) + weights + rows(n, v, dtype)


def pulled_back(f):
    def run(*inputs):
        wanted = [t for t in inputs if t.requires_grad]
        return torch.autograd.grad(f(*inputs[:-1]), wanted, inputs[-1])

    return run


def divergence(student, teacher):
    p = F.log_softmax(teacher.float(), -1)
    q = F.log_softmax(student.float(), -1)
    return F.kl_div(q, p, log_target=True, reduction="batchmean")


def scored(x_grad, weight_grad, ignored=0):
    def make(n, v, dtype, d=4):
        i = torch.arange(n, device=device)
        target = torch.where(i % 100 < 100 * ignored, -100, i * 7919 % v)
        return [randn((n, d), dtype, x_grad), randn((v, d), dtype, weight_grad), target]

    return make


def head(x, weight, target):
    if hasattr(F, "linear_cross_entropy"):
        return F.linear_cross_entropy(x, weight, target)
    return F.cross_entropy(F.linear(x, weight).float(), target)


head_gradient = gradient_of(head)


# Name of an operation -> (inputs from n, v, dtype; the work).
OPS = {
    "copy": (lambda n, v, dtype: rows(n, v, dtype) + rows(n, v, dtype), lambda a, b: b.copy_(a)),
    "crossEntropy": (labelled, F.cross_entropy),
    "crossEntropy gradient": (
        lambda n, v, dtype: labelled(n, v, dtype, True),
        gradient_of(F.cross_entropy),
    ),
    "softmax": (rows, lambda x: F.softmax(x, -1)),
    "logSoftmax": (rows, lambda x: F.log_softmax(x, -1)),
    "logsumexp": (rows, lambda x: torch.logsumexp(x, -1)),
    "layerNorm": (normed, lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b)),
    "rmsNorm": (normed, lambda x, w, b: F.rms_norm(x, x.shape[-1:], w)),
    "divergence": (lambda n, v, dtype: rows(n, v, dtype) + rows(n, v, dtype), divergence),
    "softmax gradient": (
        lambda n, v, dtype: rows(n, v, dtype, True) + rows(n, v, dtype),
        pulled_back(lambda x: F.softmax(x, -1)),
    ),
    "layerNorm gradient": (
        learned,
        pulled_back(lambda x, w, b: F.layer_norm(x, x.shape[-1:], w, b)),
    ),
    "add": (lambda n, v, dtype: rows(n, v, dtype) + rows(n, v, dtype), torch.add),
    "gelu": (rows, F.gelu),
    "transpose": (rows, lambda x: x.t().contiguous()),
    "sum": (rows, lambda x: x.sum(-1)),
    "sum of columns": (rows, lambda x: x.sum(0)),
    "sum of all": (rows, lambda x: x.sum()),
    "variance of columns": (rows, lambda x: x.var(0)),
    "matmul": (
        lambda n, v, dtype: [randn((n, v), dtype), randn((v, n), dtype)],
        torch.matmul,
    ),
    "linearCrossEntropy": (scored(False, False), head),
    "linearCrossEntropy gradient": (scored(True, True), head_gradient),
    "linearCrossEntropy gradient, large workspace": (scored(True, True), head_gradient),
    "linearCrossEntropy gradient, 2 GiB and main gradient": (scored(True, True), head_gradient),
    "linearCrossEntropy gradient, half ignored": (scored(True, True, 0.5), head_gradient),
    "linearCrossEntropy gradient, frozen head": (scored(True, False), head_gradient),
}


def clouds(x_grad):
    def make(n, v, dtype, d=4):
        return [randn((n, d), dtype, x_grad), randn((v, d), dtype)]

    return make


try:
    from geomloss import SamplesLoss

    transport = SamplesLoss("sinkhorn", p=2, blur=0.5, scaling=0.5, backend="tensorized")
    OPS["sinkhorn gradient"] = (
        clouds(True),
        lambda x, y: torch.autograd.grad(transport(x.float(), y.float()), x),
    )
except ImportError:
    pass


def other_losses():
    """Cross-entropies of other libraries that are installed: way -> f(logits, target)."""
    found = {}
    try:
        from liger_kernel.transformers.functional import liger_cross_entropy

        found["liger"] = liger_cross_entropy
    except ImportError:
        pass
    try:
        from quack.cross_entropy import cross_entropy

        found["quack"] = cross_entropy
    except ImportError:
        pass
    return found


def other_heads():
    """Heads of other libraries that are installed: way -> f(x, weight, target)."""
    found = {}
    try:
        from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

        def liger(x, weight, target):
            loss = liger_fused_linear_cross_entropy(x, weight, target)
            return loss[0] if isinstance(loss, tuple) else loss

        found["liger"] = liger
    except ImportError:
        pass
    try:
        from quack.linear_cross_entropy import chunked_linear_cross_entropy

        found["quack"] = chunked_linear_cross_entropy
    except ImportError:
        pass
    try:
        from cut_cross_entropy import linear_cross_entropy

        found["cut cross-entropy"] = linear_cross_entropy
    except ImportError:
        pass
    return found


class Case:
    def __init__(self, op, n, v, dtype, sets, **features):
        make, work = OPS[op]
        self.inputs = [make(n, v, dtype, **features) for _ in range(sets)]
        self.calls = max(sets, -(-4 // sets) * sets)
        self.runs = {}
        self.works = {"torch": work}
        if op != "copy":
            self.works["torch compile"] = work
        if op.startswith("sinkhorn"):
            self.works = {"geomloss": work}
        others = {"crossEntropy": other_losses, "linearCrossEntropy": other_heads}
        for name, libraries in others.items():
            if not op.startswith(name):
                continue
            for way, loss in libraries().items():
                theirs = gradient_of(loss) if "gradient" in op else loss
                try:  # a shape or dtype may be beyond them
                    theirs(*self.inputs[0])
                    self.works[way] = theirs
                except Exception as error:
                    print(f"{way} {op} {n} {v}: {error}", file=sys.stderr)
        self.ways = list(self.works)

    def batch(self, work):
        for i in range(self.calls):
            work(*self.inputs[i % len(self.inputs)])

    def prepare(self, way):
        torch._dynamo.reset()
        work = self.works[way]
        if way == "torch compile":
            work = torch.compile(work, dynamic=False)
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                work(*self.inputs[0])
        torch.cuda.current_stream().wait_stream(stream)
        torch.cuda.synchronize()
        try:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self.batch(work)
            run = graph.replay
        except Exception:  # what cannot be captured runs as plain calls
            torch.cuda.synchronize()
            run = lambda: self.batch(work)
        once = max(self.timed(run, 2) / 2, 1e-6)
        return run, max(1, int(LEAST_SECONDS / once) + 1)

    def timed(self, run, times):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for _ in range(times):
            run()
        torch.cuda.synchronize()
        return time.perf_counter() - begin

    def run(self, way):
        if way not in self.runs:
            self.runs[way] = self.prepare(way)
        run, times = self.runs[way]
        return self.timed(run, times) * 1e3 / times / self.calls


def answer(cases, command):
    what = command["cmd"]
    if what == "hello":
        if not torch.cuda.is_available():
            raise RuntimeError("torch finds no CUDA device")
        return {"torch": torch.__version__, "isa": torch.cuda.get_device_name(0)}
    if what == "setup":
        cases[command["id"]] = Case(command["kind"], **command["args"])
        return {"ways": cases[command["id"]].ways}
    if what == "drop":
        cases.pop(command["id"], None)
        torch.cuda.empty_cache()
        return {}
    if what == "run":
        return {"ms": cases[command["id"]].run(command["way"])}
    raise ValueError(f"unknown command {what}")


def rehearse():
    global device
    device = "cpu"
    for op in OPS:
        for dtype in DTYPES:
            case = Case(op, 8, 16, dtype, 2)
            case.batch(next(iter(case.works.values())))
    print(f"{len(OPS)} operations ran on the CPU in {len(DTYPES)} dtypes, torch {torch.__version__}")


def main():
    parser = argparse.ArgumentParser(description="PyTorch as a bench peer, see the file's head.")
    parser.add_argument("--rehearse", action="store_true", help="run all once on the CPU")
    if parser.parse_args().rehearse:
        return rehearse()
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # a library that prints must not break the protocol
    cases = {}
    for line in sys.stdin:
        try:
            reply = answer(cases, json.loads(line))
        except Exception as error:
            reply = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(reply), file=replies, flush=True)


if __name__ == "__main__":
    main()
