"""Insertion sites: the places of a traced graph where an SE block can stand, and the rules that choose among them.

Three rules find sites (:data:`RULES`). A site has one name in a backbone, whichever rules find it, so that an
architecture says what network it is without the rule.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from torch import fx

from search_space.errors import InputError
from search_space.graph_nodes import has_channels_last, module_path
from search_space.site import RULES, Rule
from search_space.sites.blocks import block_sites
from search_space.sites.chains import concatenation_sites, convolution_sites
from search_space.sites.found import FoundSite
from search_space.sites.reach import Reach
from search_space.sites.residual import residual_sites
from search_space.sites.sums import parallel_sums, sum_sites


@dataclass(frozen=True)
class FoundSites:
    """All sites of a graph by name, and the names that each rule finds, in the order of the network."""

    by_name: Mapping[str, FoundSite]
    by_rule: Mapping[Rule, tuple[str, ...]]


def find_sites(traced: fx.GraphModule) -> FoundSites:
    """Return the sites of a graph whose nodes have their shapes in ``meta["shape"]``.

    Raises:
        InputError: the maps at a site have their channels last.
    """
    reach = Reach(traced)
    names: dict[tuple[fx.Node, frozenset[str]], str] = {}
    by_name: dict[str, FoundSite] = {}
    by_rule: dict[Rule, tuple[str, ...]] = {}
    # The first rule is the oldest: the names that it gives stay what they are, whatever is added.
    for rule in ("residual", "auto", "convolutions"):
        found = _FINDERS[rule](traced, reach)
        for site in found:
            if has_channels_last(traced, site.node):
                raise InputError(f"its maps have their channels last, at {module_path(site.node)}: SE needs them first")
        new = [site for site in found if _key(site) not in names]
        for name, site in zip(_unique((site.name for site in new), taken=by_name), new, strict=True):
            names[_key(site)] = name
            by_name[name] = site
        by_rule[rule] = tuple(names[_key(site)] for site in found)
    return FoundSites(by_name, {rule: by_rule[rule] for rule in RULES})


def _residual(traced: fx.GraphModule, reach: Reach) -> list[FoundSite]:
    """Return the residual additions or, where there are none, the concatenations or else the convolutions."""
    return list(residual_sites(traced, reach)) or list(concatenation_sites(traced)) or list(convolution_sites(traced))


def _auto(traced: fx.GraphModule, reach: Reach) -> list[FoundSite]:
    """Return residual additions, sums of parallel branches, and the blocks that have neither."""
    sums = parallel_sums(traced, reach)
    parallel = {addition for found in sums for addition in found.additions}
    found = [site for site in residual_sites(traced, reach) if site.node not in parallel]
    found += sum_sites(sums)
    if not found:
        return _residual(traced, reach)
    found += block_sites(traced, reach, found)
    return sorted(found, key=lambda site: reach.order(site.node))


def _convolutions(traced: fx.GraphModule, _reach: Reach) -> list[FoundSite]:
    return list(convolution_sites(traced))


_FINDERS: Mapping[Rule, Callable[[fx.GraphModule, Reach], list[FoundSite]]] = {
    "auto": _auto,
    "residual": _residual,
    "convolutions": _convolutions,
}


def _key(site: FoundSite) -> tuple[fx.Node, frozenset[str]]:
    return site.node, frozenset(site.positions)


def _unique(names: Iterable[str], taken: Iterable[str]) -> list[str]:
    """Number the second and later occurrences of a name, with numbers that make no other's name."""
    given = list(names)
    used, unique = {*given, *taken}, []
    seen: Counter[str] = Counter(set(taken))
    for name in given:
        seen[name] += 1
        numbered = name
        while seen[name] > 1 and (numbered := f"{name}_{seen[name]}") in used:
            seen[name] += 1
        used.add(numbered)
        unique.append(numbered)
    return unique
