"""What can be searched: SE variants, insertion sites of a backbone, architectures, the space, their cost.

The data (architectures, sites, specifications) needs neither torch nor NumPy; what does is loaded when used.
"""

from typing import TYPE_CHECKING, Any

from search_space.architecture import SE, Architecture, Backbone
from search_space.costs import Cost, cost
from search_space.errors import InputError
from search_space.site import Site
from search_space.spec import SpaceSpec
from search_space.uniform_architectures import baselines, uniform

if TYPE_CHECKING:
    from search_space.backbones import resolve
    from search_space.building import build
    from search_space.enumeration import enumerate_architectures
    from search_space.moves import crossover, mutate, neighbours
    from search_space.population import draw_population
    from search_space.several import SeveralBackbones
    from search_space.space import SearchSpace
    from search_space.tracing import TracedBackbone, trace

__all__ = [
    "SE",
    "Architecture",
    "Backbone",
    "Cost",
    "InputError",
    "SearchSpace",
    "SeveralBackbones",
    "Site",
    "SpaceSpec",
    "TracedBackbone",
    "baselines",
    "build",
    "cost",
    "crossover",
    "draw_population",
    "enumerate_architectures",
    "mutate",
    "neighbours",
    "resolve",
    "trace",
    "uniform",
]

_LOADED_WHEN_USED = {
    "SearchSpace": "search_space.space",
    "SeveralBackbones": "search_space.several",
    "TracedBackbone": "search_space.tracing",
    "build": "search_space.building",
    "crossover": "search_space.moves",
    "draw_population": "search_space.population",
    "enumerate_architectures": "search_space.enumeration",
    "mutate": "search_space.moves",
    "neighbours": "search_space.moves",
    "resolve": "search_space.backbones",
    "trace": "search_space.tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _LOADED_WHEN_USED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_LOADED_WHEN_USED[name]), name)
