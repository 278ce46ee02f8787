"""Searches on a cluster of several Ray nodes, which come and go; all nodes are processes of this machine."""

import socket

import pytest
from ray.cluster_utils import Cluster

from nas.cluster import check_that_it_answers
from search_space.errors import InputError

pytestmark = pytest.mark.slow

NODES = 3
STORE = 100 * 1024**2
LONG = ("--set", "search.asha=null", "--set", "search.epochs=20", "--trials", "8")

OWN = """
import torch
from torch import nn


class Halves(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels, 1, 1), 0.5))

    def forward(self, x):
        return x * self.scale
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def cluster():
    """Three nodes of one CPU each, with a port for Ray clients on the head node; the last test takes one away."""
    client = free_port()
    made = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": STORE,
            "ray_client_server_port": client,
            "include_dashboard": False,
        },
    )
    for _ in range(NODES - 1):
        made.add_node(num_cpus=1, object_store_memory=STORE)
    made.client_url = f"ray://127.0.0.1:{client}"
    yield made
    made.shutdown()


def with_own_blocks(senas):
    (senas.folder / "mine.py").write_text(OWN)
    space = "{variant: ['mine:Halves'], position: standard, ratio: [1], insertion: {choices: [true], per: network}}"
    return ["search", "tiny.yaml", "--set", f"space={space}", "--set", "search.epochs=2", "--trials", "7"]


def test_only_the_right_kind_of_address_is_answered(cluster):
    head, client = cluster.address, cluster.client_url
    check_that_it_answers(head)
    check_that_it_answers(client)
    with pytest.raises(InputError, match="no Ray client server"):
        check_that_it_answers(f"ray://{head}")
    with pytest.raises(InputError, match="no Ray cluster answers"):
        check_that_it_answers(client.removeprefix("ray://"))


def test_the_users_own_code_travels_to_the_nodes(senas, cluster):
    ended = senas.run(*with_own_blocks(senas), "--address", cluster.address)
    assert "7 complete" in ended.stderr
    assert sum("Halves" in str(trial.to_json()["architecture"]) for trial in senas.study().trials()) == 1


def test_through_a_ray_client_the_search_is_driven_from_the_cluster(senas, cluster, postgresql):
    words = with_own_blocks(senas)
    refused = senas.run(*words, "--address", cluster.client_url, code=2)
    assert "cannot reach an SQLite file" in refused.stderr
    senas.storage = postgresql.new_database()
    ended = senas.run(*words, "--address", cluster.client_url, "--storage", senas.storage)
    assert "7 complete" in ended.stderr
    assert {trial.state for trial in senas.study().trials()} == {"COMPLETE"}
    wrong = senas.run(*words, "--address", cluster.client_url, "--storage", senas.storage, "--seed", "9", code=2)
    assert "search.seed = 0, not search.seed = 9" in wrong.stderr


def test_a_node_that_leaves_is_survived_and_one_that_joins_late_is_used(senas, cluster):
    process = senas.start("search", "tiny.yaml", *LONG, "--address", cluster.address)
    senas.wait_until(lambda trials: sum(t.state == "RUNNING" and t.epochs > 1 for t in trials) >= NODES)
    cluster.remove_node(cluster.worker_nodes.copy().pop(), allow_graceful=False)
    cluster.add_node(num_cpus=2, object_store_memory=STORE)
    senas.wait_until(lambda trials: sum(t.state == "RUNNING" for t in trials) >= NODES + 1)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "it goes on from its last checkpoint" in err
    trials = senas.study().trials()
    assert {trial.state for trial in trials} == {"COMPLETE"}
    assert len(trials) == 8
