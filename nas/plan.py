"""A configuration made concrete: its backbone traced for its data, and the space on it. Reads no images."""

from dataclasses import dataclass

from nas.config import Config
from search_space.backbones import resolve
from search_space.space import SearchSpace
from search_space.tracing import TracedBackbone, trace
from trainers.data_config import describe


@dataclass(frozen=True)
class Plan:
    """What a search is about to explore."""

    config: Config
    traced: TracedBackbone
    space: SearchSpace


def plan(config: Config) -> Plan:
    """Traces the backbone for the data's classes and image size and makes the space on it.

    Raises:
        InputError: the data set is missing, the backbone is unknown or does not fit it, or the space is empty.
    """
    num_classes, input_size = describe(config.data)
    backbone = resolve(
        config.backbone.name, num_classes=num_classes, input_size=input_size, options=config.backbone.options
    )
    traced = trace(backbone)
    return Plan(config, traced, SearchSpace(traced, config.space))
