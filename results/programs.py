"""A network as programs that run without senas: torch.export's, ONNX, and a Python file of its own.

A format is one line of the table below: how its file is written, how it is run, and whether it computes the same bit
for bit.
"""

import json
import runpy
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor, fx

from results.files import ONNX, PROGRAM, SOURCE
from search_space.architecture import Architecture

OPSET = 18
"""The version of ONNX's operators: the one that torch's exporter writes by itself, without a conversion."""

CLASS_NAMES = "class_names"
"""Key of the class names among an ONNX file's metadata properties, and their extra file in a program."""

Run = Callable[[Tensor], Tensor]
"""From images [N, C, H, W] to logits [N, num_classes]."""


@dataclass(frozen=True)
class Network:
    """A network in eval mode, on the CPU, and the architecture that it is of.

    Attributes:
        class_names: names of the classes in the order of logits; None where they have none.
    """

    module: fx.GraphModule
    architecture: Architecture
    class_names: tuple[str, ...] | None = None

    @property
    def extra_texts(self) -> dict[str, str]:
        """What a program carries besides the computation, as JSON text by key."""
        return {} if self.class_names is None else {CLASS_NAMES: json.dumps(self.class_names)}

    @cached_property
    def exported(self) -> torch.export.ExportedProgram:
        """What torch.export makes of it, for any number of images."""
        images = torch.zeros(2, *self.architecture.backbone.input_size)
        with redirect_stdout(sys.stderr):
            program = torch.export.export(self.module, (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        for node in program.graph.nodes:
            node.meta.pop("stack_trace", None)  # paths of this machine, which are nobody else's business
        program.example_inputs = None  # which would be pickled
        return program


@dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        write: writes the file.
        open: gives what runs it.
        exact: whether its logits are PyTorch's bit for bit, or within a tolerance.
    """

    write: Callable[[Network, Path], None]
    open: Callable[[Path], Run]
    exact: bool


def _write_program(network: Network, file: Path) -> None:
    torch.export.save(network.exported, file, extra_files=network.extra_texts)


def _open_program(file: Path) -> Run:
    run: Run = torch.export.load(file).module()
    return run


def _write_onnx(network: Network, file: Path) -> None:
    with redirect_stdout(sys.stderr):
        program = torch.onnx.export(
            network.exported,
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["logits"],
            dynamic_shapes=({0: "batch"},),
        )
    assert program is not None
    program.model.metadata_props.update(network.extra_texts)
    program.save(file, external_data=False)


def _open_onnx(file: Path) -> Run:
    import onnxruntime

    session = onnxruntime.InferenceSession(file, providers=["CPUExecutionProvider"])
    return lambda images: torch.from_numpy(session.run(["logits"], {"images": images.numpy()})[0])


def _write_source(network: Network, file: Path) -> None:
    from results.source import python_source

    file.write_text(python_source(network.module, network.architecture), encoding="utf-8")


def _open_source(file: Path) -> Run:
    run: Run = runpy.run_path(str(file))["load"](file.parent)
    return run


FORMATS: Mapping[str, Format] = {
    SOURCE: Format(_write_source, _open_source, exact=True),
    PROGRAM: Format(_write_program, _open_program, exact=False),
    ONNX: Format(_write_onnx, _open_onnx, exact=False),
}
"""By the name of the file, in the order in which they are made."""
