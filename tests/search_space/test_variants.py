"""Widths of the SE variants against the formulas of arXiv 2304.06502."""

import pytest
from architecture_strategies import examples
from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block

from search_space.costs import block_price
from search_space.errors import InputError
from search_space.widths import WIDTHS, hidden_widths, variant_of

CLOSED_FORMS = {
    "standard": lambda c, r: 2 * c * c / r,
    "slow_squeeze": lambda c, r: 3 * c * c / r + 2 * c * c / r**2,
    "slow_excite": lambda c, r: 3 * c * c / r + 2 * c * c / r**2,
    "slow_both": lambda c, r: 4 * c * c / r + 4 * c * c / r**2,
    "bump": lambda c, r: 2 * c * c / r + c * c / r**2,
}


def test_every_variant_has_a_closed_form():
    assert set(CLOSED_FORMS) == set(WIDTHS)


@pytest.mark.parametrize("variant", CLOSED_FORMS)
@given(half=st.integers(1, 32), multiple=st.integers(1, 64))
@examples(40)
def test_weights_follow_the_closed_forms_where_ratios_divide(variant, half, multiple):
    ratio, channels = 2 * half, 2 * half * multiple
    if variant.startswith("slow") and ratio == 2:
        # C / (r / 2) is C itself; the closed form still holds
        assert max(hidden_widths(variant, channels, ratio)) == channels
    block = se_block("standard", hidden_widths(variant, channels, ratio))
    assert block_price(block, (channels, 1, 1)).params == CLOSED_FORMS[variant](channels, ratio)


@given(variant=st.sampled_from(sorted(WIDTHS)), channels=st.integers(1, 4096), ratio=st.integers(1, 8192))
@examples(200)
def test_widths_lie_between_one_and_the_channels(variant, channels, ratio):
    widths = hidden_widths(variant, channels, ratio)
    assert all(isinstance(width, int) and 1 <= width <= channels for width in widths)
    assert max(1, channels // ratio) == min(widths)


@given(variant=st.sampled_from(sorted(WIDTHS)), channels=st.integers(8, 4096), ratio=st.integers(2, 8))
@examples(100)
def test_a_variant_is_read_off_its_widths(variant, channels, ratio):
    assert variant_of(hidden_widths(variant, channels, ratio)) == variant


@pytest.mark.parametrize("channels", [1, 6, 64])
def test_at_ratio_one_the_two_layer_variants_are_one(channels):
    widths = {v: hidden_widths(v, channels, 1) for v in WIDTHS}
    assert widths["slow_squeeze"] == widths["slow_excite"] == widths["bump"] == (channels, channels)
    assert widths["standard"] == (channels,)
    assert widths["slow_both"] == (channels,) * 3


@pytest.mark.parametrize("hidden", [(3, 4, 5), (1, 2, 3, 4)])
def test_widths_of_no_variant_are_custom(hidden):
    assert variant_of(hidden) == "custom"


def test_an_unknown_variant_is_named_with_the_nearest():
    with pytest.raises(InputError, match="unknown SE variant with widths 'bmup': did you mean 'bump'"):
        hidden_widths("bmup", 16, 4)
