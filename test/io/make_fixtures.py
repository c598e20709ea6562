# Writes the files in fixtures/ and what they hold (expected.json), with NumPy and PyTorch alone:
# the safetensors format is spelled out here. Run: python test/io/make_fixtures.py
import json
import pathlib
import struct

import numpy as np
import torch

folder = pathlib.Path(__file__).with_name("fixtures")
folder.mkdir(exist_ok=True)
rng = np.random.default_rng(5)
expected = {}


def values(array):
    """Numbers as JSON can hold them: int64 as text."""
    if array.dtype.kind == "i" and array.dtype.itemsize == 8:
        return [str(v) for v in array.flatten().tolist()]
    return array.astype(np.float64).flatten().tolist()


arrays = {
    "f4": rng.standard_normal((3, 4)).astype(np.float32),
    "f8": rng.standard_normal((2, 3, 2)),
    "f2": rng.standard_normal((5,)).astype(np.float16),
    "i4": rng.integers(-(2**31), 2**31, (2, 2), dtype=np.int32),
    "i8": np.array([-(2**63), 2**63 - 1, 0], dtype=np.int64),
    "u1": rng.integers(0, 256, (4, 1), dtype=np.uint8),
    "b1": np.array([[True, False, True]]),
    "scalar": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((0, 3), dtype=np.float32),
}
dtypes = {"f4": "float32", "f8": "float64", "f2": "float16", "i4": "int32", "i8": "int64",
          "u1": "uint8", "b1": "bool"}


def npy(name, array, version=(1, 0)):
    with open(folder / f"{name}.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=version)
    dtype = dtypes[array.dtype.str[1:]]
    expected[f"{name}.npy"] = {"dtype": dtype, "shape": array.shape, "values": values(array)}


for name, array in arrays.items():
    npy(name, array)
npy("fortran", np.asfortranarray(rng.standard_normal((2, 3, 4)).astype(np.float32)))
for name in ("f4", "f8", "f2", "i4", "i8"):
    npy(f"big-{name}", arrays[name].astype(arrays[name].dtype.newbyteorder(">")))
npy("version2", arrays["f4"], (2, 0))
npy("version3", arrays["i4"], (3, 0))
np.save(folder / "complex.npy", np.zeros(2, dtype=np.complex64))

bf16 = torch.tensor([1.0, -2.5, 3e38, 1e-40, float("inf")], dtype=torch.bfloat16)
tensors = {
    "bf16": ("BF16", bf16.view(torch.int16).numpy().tobytes(), list(bf16.shape)),
    **{
        name: (kind, arrays[name].tobytes(), list(arrays[name].shape))
        for name, kind in [("f8", "F64"), ("i8", "I64"), ("f4", "F32"), ("i4", "I32"),
                           ("scalar", "F32"), ("empty", "F32"), ("f2", "F16"), ("u1", "U8"),
                           ("b1", "BOOL")]
    },
}
header, body = {"__metadata__": {"format": "pt", "näme": "välue"}}, b""
for name, (kind, data, shape) in tensors.items():
    header[name] = {"dtype": kind, "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
    body += data
text = json.dumps(header).encode()
(folder / "all.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + body)
content = {name: {"dtype": dtypes[a.dtype.str[1:]], "shape": a.shape, "values": values(a)}
           for name, a in arrays.items()}
finite = [v if np.isfinite(v) else "Infinity" for v in bf16.double().tolist()]
content["bf16"] = {"dtype": "bfloat16", "shape": [5], "values": finite}
expected["all.safetensors"] = content
(folder / "expected.json").write_text(json.dumps(expected, indent=0) + "\n")
