"""Commands about networks, not studies: cost and space."""

import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.cli.options import AsJson, ConfigFile, Overrides
from nas.cli.render import console, plain_table, print_json, site_table, stage_label
from search_space.architecture import EXCITATIONS, POSITIONS, SQUEEZES, Architecture, Backbone
from search_space.costs import block_flops, block_params
from search_space.errors import InputError, unknown
from search_space.uniform_architectures import uniform
from search_space.variants import VARIANTS


def cost(
    what: Annotated[str, typer.Argument(metavar="BACKBONE_OR_YAML", help="A backbone's name or an architecture.yaml.")],
    variant: Annotated[str | None, typer.Option(help=f"SE variant to put everywhere: {', '.join(VARIANTS)}.")] = None,
    position: Annotated[str | None, typer.Option(help=f"One of {', '.join(POSITIONS)}.")] = None,
    ratio: Annotated[int | None, typer.Option(min=1, help="Reduction ratio.")] = None,
    stages: Annotated[str | None, typer.Option(help="Only in these stages, such as 1,2.")] = None,
    squeeze: Annotated[str | None, typer.Option(help=f"One of {', '.join(SQUEEZES)}.")] = None,
    excitation: Annotated[str | None, typer.Option(help=f"One of {', '.join(EXCITATIONS)}.")] = None,
    bias: Annotated[bool, typer.Option("--bias", help="SE layers with biases.")] = False,
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Image size, such as 224x224.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Number of classes.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the image.")] = None,
    as_json: AsJson = False,
) -> None:
    """Price a network before it is built: FLOPs, parameters, and SE's share of them.

    With none of the SE options it is the backbone alone; with any, SE stands at every site, the rest of it as
    published. Backbones for small images are priced at 3x32x32 and 10 classes, others at 3x224x224 and 1000.
    """
    from search_space.tracing import trace

    wanted: dict[str, Any] = {
        "variant": variant,
        "position": position,
        "ratio": ratio,
        "squeeze": squeeze,
        "excitation": excitation,
    }
    given = {name: value for name, value in wanted.items() if value is not None}
    has_se = bool(given) or bias or stages is not None
    if what.endswith((".yaml", ".yml")):
        if has_se or input_size or num_classes or channels:
            raise InputError(f"{what} says all there is to price: leave out the other options")
        architecture = _read_architecture(Path(what))
    else:
        backbone = _backbone(what, input_size, num_classes, channels)
        _check_choices(given)
        architecture = Architecture(backbone)
        if has_se:
            only = None if stages is None else _stage_numbers(stages)
            architecture = uniform(trace(backbone), stages=only, bias=bias, **given)
    _print_cost(architecture, as_json)


def space(config: ConfigFile, overrides: Overrides = None, as_json: AsJson = False) -> None:
    """Show what a configuration searches: sites, choices, number of distinct architectures, cost range."""
    from nas.config import load_config
    from nas.plan import plan

    planned = plan(load_config(config, overrides or ()))
    traced, found = planned.traced, planned.space
    if as_json:
        print_json(
            {
                "backbone": traced.backbone.to_dict(),
                "sites": [
                    {
                        "name": site.name,
                        "stage": site.stage,
                        "stage_name": site.stage_name,
                        "positions": {position: list(shape) for position, shape in site.shapes.items()},
                    }
                    for site in traced.sites
                ],
                "parameters": {name: list(values) for name, values in found.parameters.items()},
                "architectures": found.size,
                "flops": list(found.cost_range.flops),
                "params": list(found.cost_range.params),
            }
        )
        return
    out = console()
    out.print(_headline(traced.backbone))
    sites = plain_table()
    for name in ("stage", "site", *POSITIONS):
        sites.add_column(name)
    for previous, site in zip((None, *traced.sites), traced.sites, strict=False):
        shapes = ("x".join(map(str, site.shapes[p])) if p in site.shapes else "-" for p in POSITIONS)
        sites.add_row(stage_label(site, previous), site.name, *shapes)
    out.print()
    out.print(sites)
    choices = plain_table()
    choices.add_column("parameter")
    choices.add_column("choices")
    for name, values in found.parameters.items():
        choices.add_row(name, ", ".join(map(str, values)))
    out.print()
    out.print(choices)
    out.print()
    out.print(f"distinct architectures  {found.size:,}")
    for name, (low, high) in (("FLOPs", found.cost_range.flops), ("parameters", found.cost_range.params)):
        out.print(f"{name:<22}  {low:,} to {high:,} (+{high / low - 1:.2%})")


def print_sites(architecture: Architecture) -> None:
    """An architecture drawn site by site, with what each block costs."""
    from search_space.tracing import trace

    traced = trace(architecture.backbone)
    shares = {}
    for name, se in architecture.sites:
        shape = traced.site(name).shape(se.position)
        shares[name] = (block_flops(se, shape), block_params(se, shape))
    console().print(site_table(traced.sites, architecture, shares))


def _print_cost(architecture: Architecture, as_json: bool) -> None:
    from search_space.costs import cost as price
    from search_space.tracing import trace

    found = price(trace(architecture.backbone), architecture)
    if as_json:
        print_json(asdict(found) | {"sites": architecture.to_dict()["sites"]})
        return
    out = console()
    out.print(_headline(architecture.backbone))
    for name, whole, share in (
        ("FLOPs", found.flops, found.se_flops),
        ("parameters", found.params, found.se_params),
    ):
        out.print(f"  {name:<10} {whole:>16,}   of which SE {share:,} ({share / whole:.2%})")
    if architecture.sites:
        out.print()
        print_sites(architecture)


def _headline(backbone: Backbone) -> str:
    size = "x".join(map(str, backbone.input_size))
    return f"{backbone.name} on {size} images, {backbone.num_classes} classes"


def _read_architecture(path: Path) -> Architecture:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error
    try:
        return Architecture.from_yaml(text)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _backbone(name: str, input_size: str | None, num_classes: int | None, channels: int | None) -> Backbone:
    from search_space.backbones import BACKBONES, resolve

    usual = BACKBONES[name].usual_input if name in BACKBONES else (3, 224, 224)
    height, width = usual[1:] if input_size is None else _size(input_size)
    classes = num_classes or (10 if usual[1] < 100 else 1000)
    return resolve(name, num_classes=classes, input_size=(channels or usual[0], height, width))


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InputError(f"--input-size must be HxW, such as 224x224, not '{text}'")
    return int(match[1]), int(match[2])


def _stage_numbers(text: str) -> list[int]:
    if re.fullmatch(r"\d+(,\d+)*", text) is None:
        raise InputError(f"--stages must be numbers with commas between, such as 1,2, not '{text}'")
    return [int(number) for number in text.split(",")]


def _check_choices(given: Mapping[str, object]) -> None:
    for option, choices in (("position", POSITIONS), ("squeeze", SQUEEZES), ("excitation", EXCITATIONS)):
        if option in given and given[option] not in choices:
            raise unknown(f"--{option}", given[option], choices)
