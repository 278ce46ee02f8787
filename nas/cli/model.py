"""Commands about networks and their training, not studies: cost, space, variants, backbones, recipes."""

import random
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nas.cli.options import AsJson, ConfigFile, Overrides, SvgFile
from nas.cli.render import console, plain_table, print_json, site_table, stage_label
from results.files import write_text
from search_space.architecture import EXCITATIONS, POSITIONS, SQUEEZES, Architecture, Backbone, Option
from search_space.errors import InputError, unknown
from search_space.site import RULES, Sites
from search_space.variants import FAMILIES, Options, family, variant_names
from search_space.yaml_text import parse_yaml

if TYPE_CHECKING:
    from search_space.space import SearchSpace

_SAMPLE = 10_000
"""How many architectures tell what share of a space its constraints leave."""

_VARIANTS = ", ".join(variant_names())


def cost(
    what: Annotated[str, typer.Argument(metavar="BACKBONE_OR_YAML", help="A backbone's name or an architecture.yaml.")],
    variant: Annotated[
        str | None, typer.Option(help=f"SE variant to put everywhere: {_VARIANTS}, or an import path.")
    ] = None,
    position: Annotated[str | None, typer.Option(help=f"One of {', '.join(POSITIONS)}.")] = None,
    ratio: Annotated[int | None, typer.Option(min=1, help="Reduction ratio.")] = None,
    stages: Annotated[str | None, typer.Option(help="Only in these stages, by number or name, such as 1,2.")] = None,
    sites: Annotated[
        str | None,
        typer.Option(help=f"At which sites: {', '.join(RULES)}, or names and patterns with commas between."),
    ] = None,
    squeeze: Annotated[str | None, typer.Option(help=f"One of {', '.join(SQUEEZES)}.")] = None,
    excitation: Annotated[str | None, typer.Option(help=f"One of {', '.join(EXCITATIONS)}.")] = None,
    bias: Annotated[bool, typer.Option("--bias", help="SE layers with biases.")] = False,
    input_size: Annotated[str | None, typer.Option(metavar="HxW", help="Image size, such as 224x224.")] = None,
    num_classes: Annotated[int | None, typer.Option(min=1, help="Number of classes.")] = None,
    channels: Annotated[int | None, typer.Option(min=1, help="Channels of the image.")] = None,
    option: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="An option of the backbone, such as stem=cifar.")
    ] = None,
    latency: Annotated[bool, typer.Option("--latency", help="Build the network and measure it here.")] = False,
    batch: Annotated[int, typer.Option(min=1, help="Images at once for --latency.")] = 1,
    device: Annotated[str, typer.Option(help="Where to measure: cpu, cuda, cuda:1.")] = "cpu",
    svg: SvgFile = None,
    as_json: AsJson = False,
) -> None:
    """Price a network before it is built: FLOPs, parameters, memory, and SE's share of them.

    With none of the SE options it is the backbone alone; with any, SE stands at every site, the rest of it as
    published. A backbone is priced on the images it was published for, with 10 classes if they are small and 1000
    otherwise. Memory is that of the maps alive at the worst moment of a forward pass of one image.
    """
    from search_space.tracing import trace
    from search_space.uniform_architectures import uniform

    operators = {"ratio": ratio, "squeeze": squeeze, "excitation": excitation}
    wanted: dict[str, Any] = {"variant": variant, "position": position} | operators
    given = {name: value for name, value in wanted.items() if value is not None}
    over = None if sites is None else _sites(sites)
    has_se = bool(given) or bias or stages is not None or over is not None
    if what.endswith((".yaml", ".yml")):
        if has_se or input_size or num_classes or channels or option:
            raise InputError(f"{what} says all there is to price: leave out the other options")
        architecture = Architecture.read(Path(what))
    else:
        backbone = _backbone(what, input_size, num_classes, channels, option or [])
        _check_choices(given)
        architecture = Architecture(backbone)
        if has_se:
            options = Options(**{key: given.pop(key) for key in operators if key in given}, bias=bias)
            only = None if stages is None else _stages(stages)
            architecture = uniform(trace(backbone, over or "auto"), stages=only, options=options, **given)
    measured = _measured(architecture, batch, device) if latency else {}
    _print_cost(architecture, over, measured, as_json)
    if svg is not None:
        write_svg(architecture, svg, over)


def space(
    config: ConfigFile,
    overrides: Overrides = None,
    sample: Annotated[
        int | None, typer.Option(metavar="SEED", help="Draw an architecture of the space, one for each seed.")
    ] = None,
    svg: SvgFile = None,
    as_json: AsJson = False,
) -> None:
    """Show what a configuration searches: sites, choices, number of distinct architectures, cost range."""
    from nas.config import load_config
    from nas.plan import plan
    from search_space.population import draw_population

    planned = plan(load_config(config, overrides or ()))
    if svg is not None and sample is None:
        raise InputError("--svg draws one architecture of the space: say which by --sample SEED")
    drawn = None if sample is None else planned.space.sample(random.Random(sample))
    whole = planned.space
    if as_json:
        figures = {quantity: list(limits) for quantity, limits in asdict(whole.cost_range).items()}
        described = {name: _space_as_data(part) for name, part in planned.spaces.items()}
        print_json(
            {
                **(next(iter(described.values())) if len(described) == 1 else {"backbones": described}),
                "architectures": whole.size,
                **figures,
                **({} if drawn is None else {"sample": drawn.to_dict()}),
            }
        )
    else:
        for part in planned.spaces.values():
            _print_space(part)
        out = console()
        out.print(f"distinct architectures  {whole.size:,}")
        for name, part in planned.spaces.items():
            if part.spec.constraints:
                of = "" if len(planned.spaces) == 1 else f" of {name}"
                share = draw_population(part, _SAMPLE).feasible.mean()
                out.print(f"within constraints      {share:.1%} of {_SAMPLE:,} drawn at random{of}")
        found = whole.cost_range
        for name, (low, high) in (
            ("FLOPs", found.flops),
            ("parameters", found.params),
            ("memory, bytes", found.memory),
        ):
            out.print(f"{name:<22}  {low:,} to {high:,} (+{high / low - 1:.2%})")
        if drawn is not None:
            out.print()
            _print_cost(drawn, planned.config.space.sites, {}, as_json=False)
    if drawn is not None and svg is not None:
        write_svg(drawn, svg, planned.config.space.sites)


def variants(as_json: AsJson = False) -> None:
    """List the SE variants that a space can offer: what each computes, which options it takes, its paper."""
    listed: list[dict[str, Any]] = [
        {"name": name, "kind": kind, "formula": found.formula, "options": list(found.uses), "paper": family(kind).paper}
        for kind in FAMILIES
        for name, found in family(kind).variants.items()
    ]
    if as_json:
        print_json(listed)
        return
    table = plain_table()
    for column in ("variant", "computes", "options", "paper"):
        table.add_column(column, no_wrap=column != "paper")
    for entry in listed:
        table.add_row(entry["name"], entry["formula"], ", ".join(entry["options"]), entry["paper"])
    console().print(table)


def backbones(as_json: AsJson = False) -> None:
    """List the backbones by name, with the image each was published for and its options."""
    from search_space.backbones import backbone_names, entry

    listed: list[dict[str, Any]] = [
        {"name": name, "input_size": list(entry(name).usual_input), "options": dict(entry(name).options)}
        for name in backbone_names()
    ]
    if as_json:
        print_json(listed)
        return
    table = plain_table()
    for column in ("backbone", "images", "options"):
        table.add_column(column, no_wrap=True)
    for found in listed:
        options = ", ".join(f"{key}={value}" for key, value in found["options"].items())
        table.add_row(found["name"], "x".join(map(str, found["input_size"])), options)
    out = console()
    out.print(table)
    out.print("\nand timm:NAME where timm is installed, and package.module:Class for a module of your own")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Print this one as it is.", show_default=False)] = None,
    as_json: AsJson = False,
) -> None:
    """List the training recipes that come along, or print one as YAML.

    Those with epochs are whole; the others are overlays. Both combine: recipe: [senet-cifar, bf16, {lr: 0.05}].
    """
    from trainers.recipes import bundled, bundled_recipe

    found = list(bundled().values()) if name is None else [bundled_recipe(name)]
    listed = [{"name": recipe.name, "summary": recipe.summary, "values": recipe.values} for recipe in found]
    if as_json:
        print_json(listed if name is None else listed[0])
        return
    if name is not None:
        print(found[0].text, end="")
        return
    table = plain_table()
    for column in ("recipe", "epochs", "summary"):
        table.add_column(column, no_wrap=column != "summary", justify="right" if column == "epochs" else "left")
    for recipe in sorted(found, key=lambda recipe: not recipe.is_whole):
        table.add_row(recipe.name, str(recipe.values.get("epochs", "")), recipe.summary)
    console().print(table)


def print_sites(architecture: Architecture, sites: Sites | None) -> None:
    """Print an architecture site by site, with what each block costs.

    Args:
        sites: the sites of the space that it is from, where they are known.
    """
    from search_space.drawing import rows
    from search_space.tracing import trace_for

    console().print(site_table(rows(trace_for(architecture, sites), architecture)))


def write_svg(architecture: Architecture, file: Path, sites: Sites | None) -> None:
    """Write a drawing of an architecture, site by site, as an SVG file; takes what :func:`print_sites` takes."""
    from search_space.svg import draw
    from search_space.tracing import trace_for

    write_text(file, draw(trace_for(architecture, sites), architecture))


def _print_cost(architecture: Architecture, sites: Sites | None, latency: Mapping[str, Any], as_json: bool) -> None:
    from search_space.costs import cost as price
    from search_space.tracing import trace

    found = price(trace(architecture.backbone), architecture)
    if as_json:
        measured = {"latency": latency} if latency else {}
        print_json(asdict(found) | {"sites": architecture.to_dict()["sites"]} | measured)
        return
    out = console()
    out.print(_headline(architecture.backbone))
    for name, whole, share in (
        ("FLOPs", found.flops, found.se_flops),
        ("parameters", found.params, found.se_params),
    ):
        out.print(f"  {name:<10} {whole:>16,}   of which SE {share:,} ({share / whole:.2%})")
    out.print(f"  {'memory':<10} {found.memory:>16,}   bytes of maps alive at once")
    if latency:
        out.print(
            f"  {'latency':<10} {latency['median'] * 1e3:>13.3f} ms   spread {latency['spread'] * 1e3:.3f} ms, "
            f"batch of {latency['batch']}, {latency['repeats']} runs, {latency['device']}"
        )
    if architecture.sites:
        out.print()
        print_sites(architecture, sites)


def _measured(architecture: Architecture, batch: int, device: str) -> dict[str, Any]:
    from search_space.building import build
    from search_space.latency import measure_latency

    return asdict(measure_latency(build(architecture), architecture.backbone.input_size, batch=batch, device=device))


def _print_space(part: "SearchSpace") -> None:
    traced = part.traced
    out = console()
    out.print(_headline(traced.backbone))
    out.print()
    sites = plain_table()
    for name in ("stage", "site", *POSITIONS):
        sites.add_column(name)
    for previous, site in zip((None, *traced.sites), traced.sites, strict=False):
        shapes = ("x".join(map(str, site.shapes[p])) if p in site.shapes else "-" for p in POSITIONS)
        sites.add_row(stage_label(site, previous), site.name, *shapes)
    out.print(sites)
    choices = plain_table()
    choices.add_column("parameter")
    choices.add_column("choices")
    for name, values in part.parameters.items():
        choices.add_row(name, ", ".join(map(str, values)))
    out.print()
    out.print(choices)
    out.print()


def _space_as_data(part: "SearchSpace") -> dict[str, Any]:
    return {
        "backbone": part.traced.backbone.to_dict(),
        "sites": [
            {
                "name": site.name,
                "stage": site.stage,
                "stage_name": site.stage_name,
                "positions": {position: list(shape) for position, shape in site.shapes.items()},
            }
            for site in part.traced.sites
        ],
        "parameters": {name: list(values) for name, values in part.parameters.items()},
    }


def _headline(backbone: Backbone) -> str:
    from search_space.backbones import entry

    usual = entry(backbone.name).options
    options = ", ".join(f"{key}={value}" for key, value in backbone.options if value != usual.get(key))
    name = f"{backbone.name} ({options})" if options else backbone.name
    size = "x".join(map(str, backbone.input_size))
    return f"{name} on {size} images, {backbone.num_classes} classes"


def _backbone(
    name: str, input_size: str | None, num_classes: int | None, channels: int | None, options: list[str]
) -> Backbone:
    from search_space.backbones import entry, resolve

    usual = entry(name).usual_input
    height, width = usual[1:] if input_size is None else _size(input_size)
    classes = num_classes or (10 if usual[1] < 100 else 1000)
    return resolve(
        name,
        num_classes=classes,
        input_size=(channels or usual[0], height, width),
        options=dict(map(_option, options)),
    )


def _option(text: str) -> tuple[str, Option]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise InputError(f"--option {text}: write KEY=VALUE, such as stem=cifar")
    parsed = parse_yaml(value, f"the value of --option {text}")
    if not isinstance(parsed, Option):
        raise InputError(f"--option {text}: the value must be a number, a text, or true or false")
    return key, parsed


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", text)
    if match is None:
        raise InputError(f"--input-size must be HxW, such as 224x224, not '{text}'")
    return int(match[1]), int(match[2])


def _stages(text: str) -> list[int | str]:
    parts = [part.strip() for part in text.split(",")]
    if not all(parts):
        raise InputError(f"--stages must be numbers or names with commas between, such as 1,2, not '{text}'")
    return [int(part) if part.isdecimal() else part for part in parts]


def _sites(text: str) -> Sites:
    for rule in RULES:
        if text == rule:
            return rule
    names = tuple(part.strip() for part in text.split(","))
    if not all(names):
        raise InputError(f"--sites must be {', '.join(RULES)}, or names with commas between, not '{text}'")
    return names


def _check_choices(given: Mapping[str, object]) -> None:
    for option, choices in (("position", POSITIONS), ("squeeze", SQUEEZES), ("excitation", EXCITATIONS)):
        if option in given and given[option] not in choices:
            raise unknown(f"--{option}", given[option], choices)
