from hypothesis import given
from hypothesis import strategies as st
from se_block import se_block

from search_space.architecture import Architecture
from search_space.backbones import resolve
from search_space.summary import summarise

BACKBONE = resolve("resnet20", num_classes=10, input_size=(3, 32, 32))
SITES = st.dictionaries(
    st.sampled_from([f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]),
    st.builds(se_block, st.sampled_from(["pre", "post"]), st.sampled_from([(2,), (4, 2)])),
).map(lambda sites: Architecture(BACKBONE, tuple(sites.items())))


@given(SITES, SITES)
def test_different_placements_read_differently(one, other):
    assert (summarise(one) == summarise(other)) == (one == other)


def test_it_reads_as_documented():
    blocks = {
        "layer1.0": se_block("pre", (2, 2)),
        "layer1.1": se_block("pre", (4, 4)),
        "layer3.0": se_block("post", (8,)),
    }
    assert (
        summarise(Architecture(BACKBONE, tuple(blocks.items()))) == "layer1.0,1 pre bump 2,4; layer3.0 post standard 8"
    )
    assert summarise(Architecture(BACKBONE)) == "no SE"
    unusual = se_block("standard", (8,), squeeze="max", excitation="tanh")
    assert summarise(Architecture(BACKBONE, (("layer2.1", unusual),))) == "layer2.1 standard standard max tanh 8"
