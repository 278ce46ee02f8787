"""What a model.py reads its weights with; the code goes into the file as it stands here."""

import json
from math import prod
from pathlib import Path

import torch
from torch import Tensor


def read_safetensors(file: Path) -> dict[str, Tensor]:
    """The tensors of a safetensors file: the length of a JSON header, the header, and the bytes of the tensors."""
    dtypes = {
        "F64": torch.float64,
        "F32": torch.float32,
        "F16": torch.float16,
        "BF16": torch.bfloat16,
        "I64": torch.int64,
        "I32": torch.int32,
        "I16": torch.int16,
        "I8": torch.int8,
        "U8": torch.uint8,
        "BOOL": torch.bool,
    }
    data = bytearray(file.read_bytes())
    start = 8 + int.from_bytes(data[:8], "little")
    if not 8 < start <= len(data):
        raise ValueError(f"{file} is damaged or no safetensors file")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if name == "__metadata__":
            continue
        dtype, shape, (begin, end) = dtypes[entry["dtype"]], entry["shape"], entry["data_offsets"]
        if not 0 <= begin <= end <= len(data) - start or end - begin != prod(shape) * dtype.itemsize:
            raise ValueError(f"{file} is damaged: {name} does not have the size of its shape {shape}")
        # An empty tensor has no bytes to be read from.
        values = data[start + begin : start + end]
        flat = torch.frombuffer(values, dtype=dtype) if values else torch.empty(0, dtype=dtype)
        tensors[name] = flat.reshape(shape)
    return tensors
