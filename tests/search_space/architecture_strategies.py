"""Random architectures for the property tests, and the backbones that they are drawn on."""

from collections.abc import Collection
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from search_space.architecture import (
    EXCITATIONS,
    POSITIONS,
    SE,
    SQUEEZES,
    Architecture,
    Backbone,
    Position,
)
from search_space.backbones import resolve
from search_space.tracing import TracedBackbone
from search_space.variants import FAMILIES

SMALL: dict[str, Backbone] = {
    "resnet8": resolve("resnet8", num_classes=10, input_size=(1, 8, 8), options={"width": 4}),
    "resnet20": resolve("resnet20", num_classes=7, input_size=(3, 12, 10), options={"width": 4}),
    "cnn3": resolve("cnn3", num_classes=10, input_size=(3, 9, 11), options={"width": 6}),
    "cnn3 without conv2": resolve(
        "cnn3", num_classes=3, input_size=(1, 8, 8), options={"width": 5, "second_conv": False}
    ),
}

TORCHVISION: dict[str, Backbone] = {
    "resnet18": resolve("resnet18", num_classes=5, input_size=(3, 64, 64)),
    "resnet50": resolve("resnet50", num_classes=5, input_size=(3, 64, 48)),
    "resnext50": resolve("resnext50_32x4d", num_classes=5, input_size=(3, 32, 32)),
}


def examples(number: int) -> settings:
    """Settings of a property test with that many examples: no deadline, the same examples in every run."""
    return settings(settings.get_profile("search_space"), max_examples=number)


def blocks(
    positions: Collection[Position] = POSITIONS,
    *,
    kinds: Collection[str] = tuple(FAMILIES),
    from_identity: bool | None = None,
) -> st.SearchStrategy[SE]:
    """Any block of some kinds at one of the positions; ``from_identity`` is left open unless it is given."""
    hidden = st.lists(st.integers(1, 9), min_size=1, max_size=3).map(tuple)
    excitation, bias = st.sampled_from(EXCITATIONS), st.booleans()
    taken: dict[str, dict[str, st.SearchStrategy]] = {
        "se": {"hidden": hidden, "squeeze": st.sampled_from(SQUEEZES), "excitation": excitation, "bias": bias},
        "no_squeeze": {"hidden": hidden, "excitation": excitation, "bias": bias},
        "effective_se": {"bias": bias},
        "eca": {"kernel": st.integers(0, 4).map(lambda n: 2 * n + 1)},
        "cbam": {"hidden": hidden, "bias": bias},
        "simam": {},
        "gather_excite": {},
    }
    return st.sampled_from(sorted(kinds)).flatmap(
        lambda kind: st.builds(
            SE,
            st.sampled_from(sorted(positions)),
            st.just(kind),
            st.fixed_dictionaries(taken[kind]).map(lambda settings: tuple(settings.items())),
            st.booleans() if from_identity is None else st.just(from_identity),
        )
    )


def architectures(traced: TracedBackbone, **of_blocks: Any) -> st.SearchStrategy[Architecture]:
    """Any architecture on a traced backbone: at each site nothing, or any block at any position it has."""
    entries = [
        st.none() | blocks(site.shapes, **of_blocks).map(lambda se, name=site.name: (name, se)) for site in traced.sites
    ]
    return st.tuples(*entries).map(lambda chosen: Architecture(traced.backbone, tuple(e for e in chosen if e)))
