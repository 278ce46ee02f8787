"""What can be searched: SE variants, insertion sites of a backbone, architectures, the space, their cost.

The data (architectures, sites, spaces, costs) needs no torch; tracing and building do, and load it when used.
"""

from typing import TYPE_CHECKING, Any

from search_space.architecture import SE, Architecture, Backbone
from search_space.costs import Cost, cost
from search_space.errors import InputError
from search_space.site import Site
from search_space.space import SearchSpace
from search_space.spec import SpaceSpec
from search_space.uniform_architectures import baselines, uniform

if TYPE_CHECKING:
    from search_space.backbones import resolve
    from search_space.building import build
    from search_space.tracing import TracedBackbone, trace

__all__ = [
    "SE",
    "Architecture",
    "Backbone",
    "Cost",
    "InputError",
    "SearchSpace",
    "Site",
    "SpaceSpec",
    "TracedBackbone",
    "baselines",
    "build",
    "cost",
    "resolve",
    "trace",
    "uniform",
]

_NEEDS_TORCH = {
    "resolve": "search_space.backbones",
    "build": "search_space.building",
    "TracedBackbone": "search_space.tracing",
    "trace": "search_space.tracing",
}


def __getattr__(name: str) -> Any:
    if name not in _NEEDS_TORCH:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_NEEDS_TORCH[name]), name)
