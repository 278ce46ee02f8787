"""The command excitation: what the SE blocks of an exported network do, class by class, as pictures and numbers."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.text import Text

from nas.cli.options import AsJson, Download
from nas.cli.render import console, plain_table, print_json
from results.class_names import class_names_in, one_line
from results.files import check_that_it_can_be_made, read_architecture, read_metadata, write_text
from search_space.errors import InputError, unknown

if TYPE_CHECKING:  # torch takes seconds to load
    from torch import Tensor

    from results.excitation import BlockExcitation, Excitation
    from search_space.architecture import Backbone
    from trainers.data.config import DataConfig
    from trainers.data.images import Images, Normalization
    from trainers.data.splits import Splits

Split = Literal["validation", "test"]

_SCORES = "excitation.json"
_BATCH_SIZE = 256
_FEW_CLASSES = 10
_PAPERS_CLASSES = 4


def excitation(
    directory: Annotated[Path, typer.Argument(help="What `senas export` wrote.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Directory to write.", show_default=False)],
    data: Annotated[
        list[str] | None,
        typer.Option(
            help="Other data than the study's: KEY=VALUE of its data section such as root=DIR, a YAML file of "
            "such keys, or a folder of images.",
            metavar="KEY=VALUE|FILE|DIR",
        ),
    ] = None,
    split: Annotated[
        Split | None, typer.Option(help="Which images; those that the weights were not trained on, if not said.")
    ] = None,
    classes: Annotated[
        str | None,
        typer.Option(help="Classes to draw and list, by name or number: 3,cat; or all. Up to ten, all; else four."),
    ] = None,
    download: Download = False,
    as_json: AsJson = False,
) -> None:
    """Study what the SE blocks of an exported network do: their gates, class by class (arXiv 1709.01507, 7.2).

    Writes for each block and for all together a PNG and an SVG, the numbers as excitation.csv and excitation.json.
    """
    from results.excitation import excitation as study_gates
    from results.loading import load

    model, metadata, architecture = load(directory), read_metadata(directory), read_architecture(directory)
    _check_output(output)
    config = _data_config(directory, metadata, data or (), architecture.backbone, download=download)
    _check_that_it_fits(config, architecture.backbone)
    held_out = split or _not_trained_on(metadata)
    splits = _splits(config, held_out)
    matched = _match(class_names_in(metadata, architecture.backbone.num_classes), splits.class_names or ())
    drawn = _drawn(classes, matched.names)
    device = _device()
    normalisation = _normalisation(metadata, architecture.backbone.input_size[0]) or splits.normalization
    batches = _normalised(splits.held_out.to(device), normalisation, matched.labels)
    found = study_gates(model.to(device), architecture, batches)
    found = replace(found, notes=(*matched.notes, *found.notes))
    document: dict[str, Any] = {
        "data": config.model_dump(mode="json"),
        "split": held_out,
        "classes": list(drawn.values()),
        "blocks": [block.to_json() for block in found.blocks],
        "notes": list(found.notes),
        "directory": str(output.resolve()),
    }
    with _all_at_once(output) as folder:
        _write_charts(found, drawn, folder)
        write_text(folder / "excitation.csv", _csv(found.blocks, drawn))
        document["files"] = sorted([*(file.name for file in folder.iterdir()), _SCORES])
        write_text(folder / _SCORES, json.dumps(document, indent=2, allow_nan=False) + "\n")
    if as_json:
        print_json(document)
    else:
        _print_excitation(found, held_out)
        console().print(f"\nWrote {len(document['files'])} files to {output}", soft_wrap=True)


def _check_output(folder: Path) -> None:
    """Before the network is run, not after it: that the folder can be made, and holds nothing of anybody else's."""
    if not folder.exists():
        check_that_it_can_be_made(folder.resolve())
        return
    if not folder.is_dir():
        raise InputError(f"{folder} is a file: name a directory")
    ours = _written_before(folder)
    strange = sorted(file.name for file in folder.iterdir() if file.name not in ours or not file.is_file())
    if strange:
        raise InputError(f"{folder} holds {strange[0]}, which is not of an earlier run: name another directory")


def _written_before(folder: Path) -> set[str]:
    """The files of an earlier run, by its own list."""
    try:
        said = json.loads((folder / _SCORES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return set()
    files = said.get("files") if isinstance(said, dict) else None
    return {_SCORES, *map(str, files)} if isinstance(files, list) else set()


def _data_config(
    directory: Path, metadata: Mapping[str, Any], given: Sequence[str], backbone: "Backbone", *, download: bool
) -> "DataConfig":
    """The data section of the export's search with what was given on top."""
    from pydantic import ValidationError

    from search_space.yaml_text import parse_yaml
    from trainers.data.config import IMAGE_FOLDER, KNOWN_DATASETS, DataConfig
    from trainers.settings import explain, read_mapping

    said = _mapping(metadata, "data")
    values = dict(said)
    for one in given:
        key, equals, text = one.partition("=")
        if Path(one).is_dir():
            values = {"name": IMAGE_FOLDER, "root": one, "image_size": backbone.input_size[-1]}
        elif equals:
            values[key] = parse_yaml(text, f"the value of --data {one}")
        else:
            values = read_mapping(Path(one), "data file")
    if "name" not in values:
        raise InputError(f"{directory} does not say which data it is for: name it by --data name=... or --data FILE")
    try:
        config = DataConfig.model_validate(values | ({"download": True} if download else {}))
    except ValidationError as error:
        raise InputError(f"data: {explain(error, DataConfig, values)}") from error
    has_a_root = config.name == IMAGE_FOLDER or KNOWN_DATASETS[config.name].location is not None
    if not has_a_root and values.get("root") not in (None, said.get("root")):
        raise InputError(f"{config.name} comes with a library and lies in no folder: leave out root={values['root']}")
    return config


def _mapping(metadata: Mapping[str, Any], key: str) -> dict[str, Any]:
    """A part of an export's metadata; empty where there is none."""
    part = metadata.get(key) or {}
    if not isinstance(part, dict):
        raise InputError(f"the export's metadata are damaged: {key} must hold keys and values, not {part!r}")
    return dict(part)


def _check_that_it_fits(config: "DataConfig", backbone: "Backbone") -> None:
    from trainers.data.config import describe

    classes, shape = describe(config)
    if shape != backbone.input_size:
        raise InputError(
            f"the network takes images of {_by(backbone.input_size)}, and {config.name} has them of {_by(shape)}"
        )
    if classes != backbone.num_classes:
        raise InputError(f"the network knows {backbone.num_classes} classes, and {config.name} has {classes}")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def _not_trained_on(metadata: Mapping[str, Any]) -> Split:
    """The test images, for weights that were trained on those of the validation split too."""
    trained_on = _mapping(metadata, "weights").get("trained_on")
    return "test" if "validation" in str(trained_on) else "validation"


def _splits(config: "DataConfig", split: Split) -> "Splits":
    from trainers.data.splits import final_splits, search_splits

    return final_splits(config) if split == "test" else search_splits(config)


@dataclass(frozen=True)
class _Matched:
    """The classes of the network and those of the data, brought together.

    Attributes:
        names: names of the network's classes in the order of its logits.
        labels: the network's label for each label of the data.
        notes: sentences on what does not match.
    """

    names: tuple[str, ...]
    labels: tuple[int, ...]
    notes: tuple[str, ...] = ()


def _match(known: tuple[str, ...] | None, found: tuple[str, ...]) -> _Matched:
    """Match the data's classes to the network's: by name if both have the same names, otherwise by their order.

    Args:
        known: names of the network's classes; None where the export does not say.
        found: names of the data's classes, as many.
    """
    in_order = tuple(range(len(found)))
    if known is None or known == found:
        return _Matched(found, in_order)
    if sorted(known) == sorted(found):
        return _Matched(known, tuple(known.index(name) for name in found))
    label = next(label for label in in_order if known[label] != found[label])
    note = (
        f"The data's classes have other names than the network's and are matched by their order: class {label} is "
        f"'{one_line(known[label])}' of the network and '{one_line(found[label])}' of the data."
    )
    return _Matched(known, in_order, (note,))


def _normalisation(metadata: Mapping[str, Any], channels: int) -> "Normalization | None":
    """What the weights were trained with; None where the export does not say."""
    from trainers.data.images import Normalization

    said = _mapping(metadata, "normalisation")
    if not said:
        return None
    try:
        mean, std = (tuple(map(float, said[key])) for key in ("mean", "std"))
    except (KeyError, TypeError, ValueError):
        mean, std = (), ()
    if not len(mean) == len(std) == channels or min(std) <= 0:
        raise InputError(f"the export's metadata are damaged: normalisation must be of {channels} channels, not {said}")
    return Normalization(mean, std)


def _normalised(
    images: "Images", normalisation: "Normalization", labels_of: Sequence[int]
) -> "Iterator[tuple[Tensor, Tensor]]":
    """Yield normalised batches of images and the network's labels for them."""
    import torch

    from trainers.batches import scoring_batches

    for batch, labels in scoring_batches(images, _BATCH_SIZE):
        mean, std = (
            torch.tensor(v, device=batch.device)[:, None, None] for v in (normalisation.mean, normalisation.std)
        )
        yield batch.float().sub_(mean).div_(std), torch.tensor(labels_of, device=labels.device)[labels]


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _drawn(given: str | None, names: Sequence[str]) -> dict[int, str]:
    """The classes to draw: those that are named, or all if they are few, or as many as the paper's, spread evenly."""
    if given == "all" or (given is None and len(names) <= _FEW_CLASSES):
        return dict(enumerate(names))
    if given is None:
        return {label: names[label] for label in range(0, len(names), -(-len(names) // _PAPERS_CLASSES))}
    labels = [_label(part.strip(), names) for part in given.split(",")]
    return {label: names[label] for label in labels}


def _label(given: str, names: Sequence[str]) -> int:
    if given in names:
        return names.index(given)
    if given.isdecimal() and int(given) < len(names):
        return int(given)
    raise unknown("class", given, names)


@contextmanager
def _all_at_once(folder: Path) -> Iterator[Path]:
    """A folder to write to, whose files take the place of the other's when all have been written."""
    target = folder.resolve()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{target.name}.", dir=target.parent) as unfinished:
            yield Path(unfinished)
            target.mkdir(exist_ok=True)
            for former in target.iterdir():
                if former.name != _SCORES:
                    former.unlink()
            # The list of files first: whatever is there is then on it, should this be interrupted.
            for file in sorted(Path(unfinished).iterdir(), key=lambda file: file.name != _SCORES):
                file.replace(target / file.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be written: {error.strerror}") from error


def _write_charts(found: "Excitation", drawn: Mapping[int, str], folder: Path) -> None:
    from results.charts.excitation import block_chart, overview
    from results.charts.saving import save

    charts = {"overview": overview(found.blocks)}
    charts |= {block.site.replace(".", "-"): block_chart(block, drawn) for block in found.blocks}
    for name, chart in charts.items():
        for kind in ("png", "svg"):
            save(chart, folder / f"{name}.{kind}")


def _csv(blocks: "Sequence[BlockExcitation]", drawn: Mapping[int, str]) -> str:
    """A row for each channel of each block in each class that is drawn, and in all images together."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["site", "channel", "class", "images", "mean", "sd", "specificity"])
    for block in blocks:
        for channel, specificity in enumerate(block.specificity.tolist()):
            row = (block.overall_mean[channel], block.overall_sd[channel])
            table.writerow([block.site, channel, "", int(block.images.sum()), *row, specificity])
            for label, name in drawn.items():
                own = (block.mean[label, channel], block.sd[label, channel])
                table.writerow([block.site, channel, name, int(block.images[label]), *own, ""])
    return text.getvalue()


def _print_excitation(found: "Excitation", split: Split) -> None:
    out = console()
    images = int(found.blocks[0].images.sum())
    out.print(Text(f"Gates over {images:,} {split} images", style="bold"))
    table = plain_table()
    for name in ("site", "position", "variant"):
        table.add_column(name, no_wrap=True)
    for name in ("channels", "mean", "sd", "saturated", "specificity"):
        table.add_column(name, justify="right", no_wrap=True)
    for block in found.blocks:
        scores = block.to_json()
        table.add_row(
            block.site,
            block.position,
            block.variant,
            str(scores["channels"]),
            f"{scores['mean']:.3f}",
            f"{scores['sd']:.4f}",
            f"{scores['saturation']:.1%}",
            f"{scores['specificity']:.3f}",
        )
    out.print(table)
    for note in found.notes:
        out.print(f"- {note}", soft_wrap=True)
