"""The README.md of an export: what the network is, and how each of its files is loaded."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from results.class_names import FEW_CLASSES
from results.files import ARCHITECTURE, METADATA, ONNX, PROGRAM, SOURCE, WEIGHTS
from search_space.architecture import Architecture

_HEAD = """\
# {backbone} {id}

Trial {number} of the study "{study}". It takes {flops} multiply-adds an image and has {params} parameters.
The weights are those of trial {weights_number} of the study "{weights_study}" after {epochs} epochs on the
{trained_on}{accuracy}.

The network takes batches of images of {input_size} (channels, height, width) and gives {classes} logits for each. The
pixels are normalised as in training: `(pixel - mean) / std` for pixels from 0 to 255, with the figures that
`{metadata_file}` has under `normalisation`.

"""

_WAYS = {
    WEIGHTS: """\
With senas:

```python
import results  # of the distribution senas

model = results.load({directory})  # a torch.nn.Module in eval mode, on the CPU
features = results.load({directory}, features=True)  # the maps of every stage, for detectors and segmenters
```

""",
    SOURCE: """\
With torch alone, from [`{name}`]({name}), which is the network as one readable file:

```python
import runpy

model = runpy.run_path({path})["load"]({directory})
```

""",
    PROGRAM: """\
With torch alone, as a program of torch.export, for inference:

```python
import torch

model = torch.export.load({path}).module()
```

""",
    ONNX: """\
With ONNX Runtime:

```python
import onnxruntime

session = onnxruntime.InferenceSession({path})
run = lambda images: session.run(["logits"], {{"images": images}})[0]  # 32-bit floats, of NumPy
```

""",
}

_CLASSES = """\
Each logit is that of a class, in this order{some}:

```text
{names}
```

From the logits of any of the files to names:

```python
import json
from pathlib import Path

class_names = json.loads(Path({metadata}).read_text(encoding="utf-8"))["class_names"]
predicted = lambda logits: [class_names[label] for label in logits.argmax(1)]  # a name for each image
```

The names are also {places}.

"""

_PLACES_OF_NAMES = {
    WEIGHTS: "`model.class_names` of what `results.load` gives",
    PROGRAM: f"JSON in the extra file `class_names` of `{PROGRAM}`",
    ONNX: f'JSON in `session.get_modelmeta().custom_metadata_map["class_names"]` of `{ONNX}`',
}

_TAIL = """\
- `{architecture_file}` lists the sites that have a Squeeze-and-Excitation block, with its position and widths.
  `senas cost {architecture_file}` tells what they cost.
- `{weights_file}` holds the weights, by the names of the model's state dict.
- `{metadata_file}` says where all this comes from, and holds the files' checksums, and by how much the logits of each
  file were seen to differ from PyTorch's.
"""


def readme(directory: str, architecture: Architecture, metadata: Mapping[str, Any]) -> str:
    """The text of README.md.

    Args:
        directory: the name of the export's directory.
        metadata: what metadata.json says.
    """
    weights = metadata["weights"]
    accuracy = weights["accuracy"]
    head = _HEAD.format(
        backbone=architecture.backbone.name,
        id=architecture.id,
        number=metadata["trial"],
        study=metadata["study"],
        weights_number=weights["trial"],
        weights_study=weights["study"],
        epochs=weights["epochs"],
        trained_on=weights["trained_on"],
        accuracy="" if accuracy is None else f": {accuracy:.2%} top-1 on the {weights['scored_on']}",
        flops=_grouped(metadata["flops"]),
        params=_grouped(metadata["params"]),
        input_size=" x ".join(map(str, architecture.backbone.input_size)),
        classes=architecture.backbone.num_classes,
        metadata_file=METADATA,
    )
    ways = (
        text.format(name=name, directory=_quoted(directory), path=_quoted(f"{directory}/{name}"))
        for name, text in _WAYS.items()
        if name in metadata["verified"]["largest_difference"]
    )
    classes = "" if metadata["class_names"] is None else _classes(metadata, directory)
    tail = _TAIL.format(architecture_file=ARCHITECTURE, weights_file=WEIGHTS, metadata_file=METADATA)
    return head + "".join(ways) + classes + tail


def _classes(metadata: Mapping[str, Any], directory: str) -> str:
    """Return the section on the classes. Names are JSON strings in a block of text, where no character is markup."""
    names: Sequence[str] = metadata["class_names"]
    shown = names[:FEW_CLASSES]
    width = len(str(len(shown) - 1))
    return _CLASSES.format(
        some="" if len(shown) == len(names) else f" (the first {len(shown)} of {len(names)})",
        names="\n".join(f"{label:>{width}}  {_printable(name)}" for label, name in enumerate(shown)),
        metadata=_quoted(f"{directory}/{METADATA}"),
        places=", ".join(
            place for file, place in _PLACES_OF_NAMES.items() if file in metadata["verified"]["largest_difference"]
        ),
    )


def _printable(name: str) -> str:
    return json.dumps(name, ensure_ascii=not name.isprintable())


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def _grouped(count: int | None) -> str:
    return "an unknown number of" if count is None else f"{count:,}"
