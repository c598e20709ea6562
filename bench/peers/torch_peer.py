"""PyTorch on the CPU as a bench peer: one JSON command a line on stdin, one JSON reply a line.

The parent decides when a way runs, so that ours and PyTorch's runs interleave; only the call
itself is timed, never the pipe. Data come from the counter-based generator of
bench/harness/data.ts, so both sides see the same numbers without a file between them.
"""

import ctypes
import json
import os
import sys
import time

import numpy as np
import torch
import torch.nn.functional as F

DTYPES = {
    "float32": torch.float32,
    "float64": torch.float64,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
BLOCK = 1 << 20


def mix(h):
    """The 32-bit finalizer of MurmurHash3 (Appleby, public domain), as in data.ts."""
    h = h ^ (h >> np.uint32(16))
    h = h * np.uint32(0x85EBCA6B)
    h = h ^ (h >> np.uint32(13))
    h = h * np.uint32(0xC2B2AE35)
    return h ^ (h >> np.uint32(16))


def key(seed):
    return np.uint32((seed * 0x9E3779B9) & 0xFFFFFFFF)


def normal(seed, shape, std, dtype):
    size = int(np.prod(shape))
    out = np.empty(size, np.float32)
    scale = std / 37837.2
    low = np.uint32(0xFFFF)
    for begin in range(0, size, BLOCK):
        end = min(begin + BLOCK, size)
        a = mix(np.arange(begin, end, dtype=np.uint32) + key(seed))
        b = mix(a ^ np.uint32(0x5BD1E995))
        total = (a & low) + (a >> np.uint32(16)) + (b & low) + (b >> np.uint32(16))
        out[begin:end] = (total.astype(np.float64) - 131070.0) * scale
    return torch.from_numpy(out.reshape(shape)).to(DTYPES[dtype])


def classes(seed, count, v):
    ids = mix(np.arange(count, dtype=np.uint32) + key(seed)) % np.uint32(v)
    return torch.from_numpy(ids.astype(np.int64))


def relative_error(value, truth):
    difference = value.to(torch.float64) - truth
    return (difference.norm() / truth.norm()).item()


class CrossEntropy:
    def __init__(self, n, v, dtype, sets, seed):
        self.data = [
            (normal(seed + 2 * s, (n, v), 2.0, dtype), classes(seed + 2 * s + 1, n, v))
            for s in range(sets)
        ]
        self.ways = {"forward": self.forward, "forwardGrad": self.forward_grad}

    def tidy(self):
        for logits, _ in self.data:
            logits.grad = None

    def forward(self, s):
        logits, target = self.data[s]
        with torch.no_grad():
            return F.cross_entropy(logits, target)

    def forward_grad(self, s):
        logits, target = self.data[s]
        logits.requires_grad_(True)
        loss = F.cross_entropy(logits, target)
        loss.backward()
        return loss


class LinearCrossEntropy:
    def __init__(self, n, d, v, dtype, sets, seed):
        self.shape = (n, d, v)
        self.seed = seed
        self.dtype = dtype
        self.data = [self.inputs(s, dtype) for s in range(sets)]
        self.options = None
        self.products = None
        self.ways = {
            "products": self.bare_products,
            "linear+crossEntropy": self.linear_then_loss,
        }
        if hasattr(F, "linear_cross_entropy"):  # since PyTorch 2.13
            self.ways["linearCrossEntropy"] = self.fused
            self.ways["linearCrossEntropy auto"] = self.fused_auto

    def inputs(self, s, dtype):
        n, d, v = self.shape
        seed = self.seed + 3 * s
        x = normal(seed, (n, d), 1.0, dtype).requires_grad_(True)
        w = normal(seed + 1, (v, d), d**-0.5, dtype).requires_grad_(True)
        return x, w, classes(seed + 2, n, v)

    def tidy(self):
        for x, w, _ in self.data:
            x.grad = w.grad = None

    def bare_products(self, s):
        """The three products of the loss, results into buffers that are already warm."""
        x, w, _ = self.data[s]
        if self.products is None:
            n, d, v = self.shape
            self.products = [x.new_zeros(shape) for shape in ((n, v), (n, d), (v, d))]
        z, dx, dw = self.products
        with torch.no_grad():
            torch.mm(x, w.t(), out=z)
            torch.mm(z, w, out=dx)
            torch.mm(z.t(), x, out=dw)

    def linear_then_loss(self, s):
        x, w, target = self.data[s]
        loss = F.cross_entropy(F.linear(x, w), target)
        loss.backward()
        return loss

    def fused(self, s):
        x, w, target = self.data[s]
        loss = F.linear_cross_entropy(x, w, target, options=self.options)
        loss.backward()
        return loss

    def fused_auto(self, s):
        x, w, target = self.data[s]
        options = torch.nn.LinearCrossEntropyOptions()
        loss = F.linear_cross_entropy(x, w, target, options=options)
        loss.backward()
        return loss

    def chunkings(self):
        """Options of linear_cross_entropy by name.

        In bfloat16 only 'accurate' with float32 sums is tried: the other policies, 'auto' too,
        multiply in emulated bfloat16 and take 7 to 30 s where this one takes half a second.
        """
        n = self.shape[0]
        Options = torch.nn.LinearCrossEntropyOptions
        narrow = DTYPES[self.dtype].itemsize == 2
        policy = {"acc_policy": "accurate", "acc_dtype": torch.float32} if narrow else {}
        candidates = {} if narrow else {"auto": Options()}
        for parts in (1, 2, 4):
            rows = -(-n // parts)
            candidates[f"{rows} rows"] = Options(batch_chunk_size=rows, **policy)
        return candidates

    def use(self, name):
        self.options = self.chunkings()[name]

    def tune(self):
        """Keeps the chunking that is fastest here, so that the ratio is to PyTorch's best."""
        best = None
        for name, options in self.chunkings().items():
            self.options = options
            times = [timed(self, "linearCrossEntropy", 0) for _ in range(3)]
            if best is None or min(times[1:]) < best[0]:
                best = (min(times[1:]), name, options)
        self.options = best[2]
        return best[1]

    def truth(self):
        """float64 gradients on the inputs as they are stored (rounded to their dtype)."""
        x, w, target = self.data[0]
        x, w = (t.detach().to(torch.float64).requires_grad_(True) for t in (x, w))
        F.cross_entropy(F.linear(x, w), target).backward()
        return x.grad, w.grad

    def errors(self, way, files):
        """Relative Frobenius error of dx and dweight of our files and of a way of PyTorch."""
        dx, dw = self.truth()
        reply = {}
        if files:
            n, d, v = self.shape
            for name, path, shape, truth in (
                ("dx", files["dx"], (n, d), dx),
                ("dweight", files["dweight"], (v, d), dw),
            ):
                ours = torch.from_numpy(np.fromfile(path, np.float32).reshape(shape))
                reply[name] = relative_error(ours, truth)
        if way:
            self.ways[way](0)
            x, w, _ = self.data[0]
            reply["peerDx"] = relative_error(x.grad, dx)
            reply["peerDweight"] = relative_error(w.grad, dw)
            self.tidy()
        return reply


class MatMul:
    def __init__(self, m, k, n, dtype, sets, seed):
        self.data = [
            (normal(seed + 2 * s, (m, k), 1.0, dtype), normal(seed + 2 * s + 1, (k, n), 1.0, dtype))
            for s in range(sets)
        ]
        self.out = self.data[0][0].new_zeros((m, n))
        self.ways = {"forward": self.product}

    def tidy(self):
        pass

    def product(self, s):
        with torch.no_grad():
            torch.mm(*self.data[s], out=self.out)


class Convolution:
    """conv2d of x [batch, c, n, n] by [o, c, k, k], padding k/2, alone or with one gradient."""

    def __init__(self, batch, c, n, o, k, stride, seed):
        self.x = normal(seed, (batch, c, n, n), 1.0, "float32")
        self.w = normal(seed + 1, (o, c, k, k), 1.0, "float32")
        self.options = {"stride": stride, "padding": k // 2}
        self.ways = {
            "forward": self.forward,
            "forward, dx": lambda s: self.gradient(self.x, self.w),
            "forward, dweight": lambda s: self.gradient(self.w, self.x),
        }

    def tidy(self):
        self.x.grad = self.w.grad = None

    def forward(self, s):
        with torch.no_grad():
            F.conv2d(self.x, self.w, **self.options)

    def gradient(self, wanted, other):
        wanted.requires_grad_(True)
        other.requires_grad_(False)
        y = F.conv2d(self.x, self.w, **self.options)
        y.backward(torch.ones_like(y))
        wanted.requires_grad_(False)


class Distance:
    def __init__(self, n, m, d, seed):
        self.x = normal(seed, (n, d), 1.0, "float32")
        self.y = normal(seed + 1, (m, d), 1.0, "float32")
        self.ways = {"forward": self.forward}

    def tidy(self):
        pass

    def forward(self, s):
        with torch.no_grad():
            torch.cdist(self.x, self.y)


class SmallAdd:
    """`count` additions of a [16]: the time is the overhead of an operation."""

    def __init__(self, count):
        self.count = count
        self.a = torch.randn(16)
        self.b = torch.randn(16)
        self.leaf = torch.randn(16, requires_grad=True)
        self.seed = torch.ones(16)
        self.ways = {"forward": self.forward, "forwardBackward": self.forward_backward}

    def tidy(self):
        self.leaf.grad = None

    def forward(self, s):
        for _ in range(self.count):
            self.a.add(self.b)

    def forward_backward(self, s):
        for _ in range(self.count):
            self.leaf.grad = None
            self.leaf.add(self.b).backward(self.seed)


KINDS = {
    "convolution": Convolution,
    "crossEntropy": CrossEntropy,
    "distance": Distance,
    "linearCrossEntropy": LinearCrossEntropy,
    "matmul": MatMul,
    "smallAdd": SmallAdd,
}


def timed(case, way, s):
    begin = time.perf_counter()
    case.ways[way](s)
    elapsed = time.perf_counter() - begin
    case.tidy()
    return elapsed * 1e3


def status_bytes(field):
    with open("/proc/self/status") as status:
        for line in status:
            if line.startswith(field + ":"):
                return int(line.split()[1]) * 1024
    return None


def peak_extra_bytes(case, way):
    """Resident memory added at the peak of one call, gradients included (Linux only)."""
    if not os.path.exists("/proc/self/clear_refs"):
        return None
    ctypes.CDLL(None).malloc_trim(0)  # freed memory that is kept would hide what the call needs
    with open("/proc/self/clear_refs", "w") as clear:
        clear.write("5")  # 5 resets VmHWM to the present resident size
    before = status_bytes("VmRSS")
    case.ways[way](0)
    peak = status_bytes("VmHWM") - before
    case.tidy()
    return max(0, peak)


def answer(cases, command):
    what = command["cmd"]
    if what == "hello":
        torch.set_num_threads(command["threads"])
        return {
            "torch": torch.__version__,
            "threads": torch.get_num_threads(),
            "isa": torch.backends.cpu.get_cpu_capability(),
        }
    if what == "setup":
        if command["kind"] == "sinkhorn":
            from transport_peer import Sinkhorn as kind
        elif command["kind"] in ("emd", "lines"):
            import exact_peer

            kind = exact_peer.KINDS[command["kind"]]
        elif command["kind"] == "clDice":
            from skeleton_peer import ClDice as kind
        elif command["kind"] in KINDS:
            kind = KINDS[command["kind"]]
        else:
            from distillation_peer import KINDS as more

            kind = more[command["kind"]]
        cases[command["id"]] = kind(**command["args"])
        return {"ways": list(cases[command["id"]].ways)}
    if what == "threads":
        torch.set_num_threads(command["threads"])
        return {"threads": torch.get_num_threads()}
    if what == "drop":
        cases.pop(command["id"], None)
        return {}
    case = cases[command["id"]]
    if what == "run":
        return {"ms": timed(case, command["way"], command["set"])}
    if what == "tune":
        return {"options": case.tune()}
    if what == "use":
        case.use(command["options"])
        return {}
    if what == "memory":
        return {"bytes": peak_extra_bytes(case, command["way"])}
    if what == "errors":
        return case.errors(command.get("way"), command.get("files"))
    raise ValueError(f"unknown command {what}")


def main():
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
