"""How many trials fit on the nodes of a cluster, and what is said when none does."""

import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.cluster import check_that_one_fits, fitting, needs_of_a_trial
from nas.config import ResourcesConfig
from search_space.errors import InputError

nodes = st.lists(st.fixed_dictionaries({"cpu": st.integers(0, 64), "gpu": st.integers(0, 8)}), max_size=5)


@pytest.mark.parametrize(
    ("needs", "there", "fits"),
    [
        ({"cpu": 1, "gpu": 0}, [{"cpu": 2, "gpu": 0}], 2),
        ({"cpu": 0.5, "gpu": 0}, [{"cpu": 2, "gpu": 0}], 4),
        ({"cpu": 1, "gpu": 0.25}, [{"cpu": 16, "gpu": 1}], 4),
        ({"cpu": 1, "gpu": 0.25}, [{"cpu": 2, "gpu": 1}], 2),
        ({"cpu": 0.1, "gpu": 0.1}, [{"cpu": 1, "gpu": 1}], 10),  # 1 / 0.1 is a little below ten in floating point
        ({"cpu": 3, "gpu": 0}, [{"cpu": 4, "gpu": 0}, {"cpu": 4, "gpu": 0}], 2),  # no trial spans two nodes
        ({"cpu": 1, "gpu": 1}, [{"cpu": 8, "gpu": 0}, {"cpu": 8, "gpu": 2}, {"cpu": 1, "gpu": 4}], 3),
        ({"cpu": 1, "gpu": 1}, [], 0),
    ],
)
def test_each_trial_lies_on_one_node(needs, there, fits):
    assert fitting(needs, there) == fits


@given(nodes, nodes, st.sampled_from([0.25, 0.5, 1, 2]), st.sampled_from([0, 0.25, 1, 2]))
def test_nodes_add_up_and_what_fits_is_never_more_than_there_is(some, others, cpus, gpus):
    needs = {"cpu": cpus, "gpu": gpus}
    together = fitting(needs, some + others)
    assert together == fitting(needs, some) + fitting(needs, others)
    for key, needed in needs.items():
        assert together * needed <= sum(node[key] for node in some + others)


def test_a_gpu_is_taken_where_there_is_one_unless_something_else_is_said():
    mixed = [{"cpu": 8, "gpu": 0}, {"cpu": 8, "gpu": 1}]
    assert needs_of_a_trial(ResourcesConfig(), mixed) == {"cpu": 1, "gpu": 1}
    assert needs_of_a_trial(ResourcesConfig(), mixed[:1]) == {"cpu": 1, "gpu": 0}
    assert needs_of_a_trial(ResourcesConfig(gpus_per_trial=0.25), mixed) == {"cpu": 1, "gpu": 0.25}
    assert needs_of_a_trial(ResourcesConfig(gpus_per_trial=0), mixed) == {"cpu": 1, "gpu": 0}


@pytest.mark.parametrize(
    ("needs", "there", "message"),
    [
        ({"cpu": 9, "gpu": 0}, [{"cpu": 8, "gpu": 0}], "resources.cpus_per_trial is 9, but there are 8 CPUs: lower it"),
        ({"cpu": 1, "gpu": 1}, [{"cpu": 8, "gpu": 0}], "resources.gpus_per_trial is 1, but there are 0 GPUs: lower it"),
        (
            {"cpu": 9, "gpu": 0},
            [{"cpu": 8, "gpu": 0}, {"cpu": 4, "gpu": 0}],
            "there are 8 CPUs on the largest node: lower it",
        ),
        (
            {"cpu": 8, "gpu": 1},
            [{"cpu": 8, "gpu": 0}, {"cpu": 4, "gpu": 1}],
            "no node has both 8 CPUs and 1 GPUs for a trial",
        ),
    ],
)
def test_what_fits_nowhere_is_refused(needs, there, message):
    with pytest.raises(InputError, match=message):
        check_that_one_fits(needs, there)


def test_what_fits_somewhere_is_not():
    check_that_one_fits({"cpu": 8, "gpu": 1}, [{"cpu": 8, "gpu": 0}, {"cpu": 8, "gpu": 1}])


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no CPU affinity")
def test_ray_on_this_machine_has_the_cpus_that_the_process_may_use():
    code = """
import os
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from nas import cluster
from nas.config import parse_config
config = parse_config({"study": "s", "backbone": {"name": "resnet8"}, "data": {"name": "digits"},
                       "search": {"trials": 1, "epochs": 1}})
with cluster.connected(None, config):
    print([node["cpu"] for node in (*cluster.this_machine(), *cluster.nodes_of_the_cluster())])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[1, 1.0]\n"
