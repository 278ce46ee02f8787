"""The commands analyze and excitation: which choices matter in a study, and what a trained network's blocks do."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.table import Table
from rich.text import Text

from nas.cli.options import DEFAULT_STORAGE, AsJson, Download, Storage, StudyName
from nas.cli.render import console, plain_table, print_json
from search_space.errors import InputError, unknown

if TYPE_CHECKING:  # torch takes seconds to load, SciPy one
    from torch import Tensor

    from results.analysis import Analysis, Effect
    from results.excitation import BlockExcitation, Excitation
    from search_space.architecture import Backbone
    from trainers.data.config import DataConfig
    from trainers.data.images import Images, Normalization

Split = Literal["validation", "test"]

_BATCH_SIZE = 256
_FEW_CLASSES = 10
_PAPERS_CLASSES = 4
_MOST_POINTS = 20


def analyze(
    study: StudyName,
    epoch: Annotated[
        int | None,
        typer.Option(min=1, help="Compare accuracies after this epoch, not after the last that all trials reached."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of fANOVA's random forest.")] = 0,
    storage: Storage = DEFAULT_STORAGE,
    as_json: AsJson = False,
) -> None:
    """Show which choices matter and in which direction, how far early epochs foretell the last, and the progress.

    docs/understanding.md says what each number means and does not mean.
    """
    from results.analysis import analyze as analyse
    from results.study import open_study

    analysis = analyse(open_study(storage, study), seed=seed, epoch=epoch)
    if as_json:
        print_json(analysis.to_json())
    else:
        _print_analysis(analysis)


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
    from results.files import read_architecture, read_metadata
    from results.loading import load

    model, metadata, architecture = load(directory), read_metadata(directory), read_architecture(directory)
    config = _data_config(directory, metadata, data or (), architecture.backbone, download=download)
    _check_that_it_fits(config, architecture.backbone)
    held_out = split or _not_trained_on(metadata)
    images, names, computed = _images(config, held_out)
    drawn = _drawn(classes, names)
    _make_folder(output)
    device = _device()
    batches = _normalised(images.to(device), _normalisation(metadata, architecture.backbone.input_size[0]) or computed)
    found = study_gates(model.to(device), architecture, batches)
    files = _write(found, drawn, names, output)
    document = {
        "data": config.model_dump(mode="json"),
        "split": held_out,
        "classes": list(drawn.values()),
        "blocks": [block.to_json() for block in found.blocks],
        "notes": list(found.notes),
        "directory": str(output.resolve()),
        "files": sorted(files),
    }
    _write_json(document, output / "excitation.json")
    if as_json:
        print_json(document)
    else:
        _print_excitation(found, held_out)
        console().print(f"\nWrote {len(files) + 1} files to {output}", soft_wrap=True)


def _print_analysis(analysis: "Analysis") -> None:
    out = console()
    for table in _tables(analysis):
        out.print(Text(str(table.title), style="bold"))
        table.title = None  # which would be wrapped to the table's width
        out.print(table)
        out.print()
    for note in analysis.notes:
        out.print(f"- {note}", soft_wrap=True)


def _tables(analysis: "Analysis") -> Iterator[Table]:
    yield from _importance_tables(analysis)
    if analysis.effects:
        yield _effect_table(analysis.effects)
    if analysis.rungs:
        yield _rung_table(analysis)
    if analysis.hypervolume:
        yield _hypervolume_table(analysis)


def _importance_tables(analysis: "Analysis") -> Iterator[Table]:
    for objective in dict.fromkeys(row.objective for row in analysis.importances):
        table = plain_table(title=f"Which parameters matter for {objective}")
        _add_columns(table, "parameter", ">PED-ANOVA", ">fANOVA")
        for row in analysis.importances:
            if row.objective == objective:
                table.add_row(row.parameter, *(_share(value) for value in (row.ped_anova, row.fanova)))
        yield table


def _effect_table(effects: "Sequence[Effect]") -> Table:
    table = plain_table(title="In which direction: accuracy in percentage points, all else being equal")
    _add_columns(table, "factor", "level", "against", ">trials", ">against", ">difference", ">95 % interval")
    for effect in effects:
        shown = effect.low > 0 or effect.high < 0
        table.add_row(
            effect.factor,
            effect.level,
            effect.reference,
            str(effect.trials),
            str(effect.reference_trials),
            Text(f"{100 * effect.difference:+.2f}", style="bold" if shown else ""),
            Text(f"{100 * effect.low:+.2f} to {100 * effect.high:+.2f}", style="bold" if shown else ""),
        )
    return table


def _rung_table(analysis: "Analysis") -> Table:
    table = plain_table(title="How early epochs foretell the last: Spearman's rank correlation of accuracies")
    _add_columns(table, ">after epoch", ">with epoch", ">trials", ">rho", ">95 % interval")
    for row in analysis.rungs:
        table.add_row(
            str(row.epoch), str(row.last_epoch), str(row.trials), f"{row.rho:.2f}", f"{row.low:.2f} to {row.high:.2f}"
        )
    return table


def _hypervolume_table(analysis: "Analysis") -> Table:
    """The trials that made the front grow, the newest of them where they are many."""
    points = analysis.hypervolume
    grown = [
        point
        for before, point in pairwise([None, *points])
        if point is not None and (before is None or point.hypervolume > before.hypervolume)
    ]
    shown = grown[-_MOST_POINTS:]
    title = f"How the front grew: {len(grown)} of {len(points)} complete trials moved it"
    table = plain_table(title=title if len(shown) == len(grown) else f"{title}, the last {len(shown)} of them")
    _add_columns(table, ">trial", "ended", ">hypervolume")
    for point in shown:
        when = f"{point.ended:%Y-%m-%d %H:%M:%S}" if point.ended else ""
        table.add_row(str(point.number), when, f"{point.hypervolume:.4f}")
    return table


def _add_columns(table: Table, *names: str) -> None:
    for name in names:
        table.add_column(name.removeprefix(">"), justify="right" if name.startswith(">") else "left", no_wrap=True)


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"


def _data_config(
    directory: Path, metadata: Mapping[str, Any], given: Sequence[str], backbone: "Backbone", *, download: bool
) -> "DataConfig":
    """The data section of the export's search with what was given on top."""
    from pydantic import ValidationError

    from trainers.data.config import IMAGE_FOLDER, DataConfig
    from trainers.settings import explain, parse_yaml, read_mapping

    values = _mapping(metadata, "data")
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
        return DataConfig.model_validate(values | ({"download": True} if download else {}))
    except ValidationError as error:
        raise InputError(f"data: {explain(error, DataConfig, values)}") from error


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


def _images(config: "DataConfig", split: Split) -> "tuple[Images, tuple[str, ...], Normalization]":
    from trainers.data.sources import open_source
    from trainers.data.splits import final_splits, search_splits

    splits = final_splits(config) if split == "test" else search_splits(config)
    return splits.held_out, open_source(config, "train").class_names, splits.normalization


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


def _normalised(images: "Images", normalisation: "Normalization") -> "Iterator[tuple[Tensor, Tensor]]":
    import torch

    from trainers.batches import scoring_batches

    for batch, labels in scoring_batches(images, _BATCH_SIZE):
        mean, std = (
            torch.tensor(v, device=batch.device)[:, None, None] for v in (normalisation.mean, normalisation.std)
        )
        yield batch.float().sub_(mean).div_(std), labels


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


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from error


def _write(found: "Excitation", drawn: Mapping[int, str], names: Sequence[str], folder: Path) -> list[str]:
    """The charts and the table; gives the names of the files."""
    from results.charts.excitation import block_chart, overview
    from results.charts.saving import save
    from results.files import write_text

    charts = {"overview": overview(found.blocks)}
    charts |= {block.site.replace(".", "-"): block_chart(block, drawn) for block in found.blocks}
    files = [f"{name}.{kind}" for name in charts for kind in ("png", "svg")]
    for file in files:
        save(charts[file.rpartition(".")[0]], folder / file)
    write_text(folder / "excitation.csv", _csv(found.blocks, drawn))
    return [*files, "excitation.csv"]


def _csv(blocks: "Sequence[BlockExcitation]", drawn: Mapping[int, str]) -> str:
    """A row for each channel of each block in each class that is drawn, and in all images together."""
    import csv
    import io

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


def _write_json(document: Mapping[str, Any], file: Path) -> None:
    import json

    from results.files import write_text

    write_text(file, json.dumps(document, indent=2, allow_nan=False) + "\n")


def _print_excitation(found: "Excitation", split: Split) -> None:
    out = console()
    images = int(found.blocks[0].images.sum())
    out.print(Text(f"Gates over {images:,} {split} images", style="bold"))
    table = plain_table()
    _add_columns(table, "site", "position", "variant", ">channels", ">mean", ">sd", ">saturated", ">specificity")
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
