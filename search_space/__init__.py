"""What can be searched: SE variants, insertion sites of a backbone, architectures, the space, their cost.

The data (architectures, sites, specifications) needs neither torch nor NumPy. Each module is loaded when first used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from search_space.architecture import SE, Architecture, Backbone
    from search_space.backbones import resolve
    from search_space.building import build
    from search_space.costs import Cost, cost
    from search_space.enumeration import enumerate_architectures
    from search_space.errors import InputError
    from search_space.moves import crossover, mutate, neighbours
    from search_space.population import draw_population
    from search_space.several import SeveralBackbones
    from search_space.site import Site
    from search_space.space import SearchSpace
    from search_space.spec import SpaceSpec
    from search_space.tracing import TracedBackbone, trace
    from search_space.uniform_architectures import baselines, uniform

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

_MODULES = {
    "architecture": ("SE", "Architecture", "Backbone"),
    "backbones": ("resolve",),
    "building": ("build",),
    "costs": ("Cost", "cost"),
    "enumeration": ("enumerate_architectures",),
    "errors": ("InputError",),
    "moves": ("crossover", "mutate", "neighbours"),
    "population": ("draw_population",),
    "several": ("SeveralBackbones",),
    "site": ("Site",),
    "space": ("SearchSpace",),
    "spec": ("SpaceSpec",),
    "tracing": ("TracedBackbone", "trace"),
    "uniform_architectures": ("baselines", "uniform"),
}
_MODULE_OF = {name: f"{__name__}.{module}" for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_MODULE_OF[name]), name)
