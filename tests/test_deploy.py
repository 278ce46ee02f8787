"""What docs/cluster.md and deploy/ tell people to run can be run, and opens nothing that it should not."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
import typer
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from sqlalchemy.engine import make_url

from nas.cli import app
from nas.config import load_config

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "cluster.md"
FILES = sorted(file for file in (ROOT / "deploy").iterdir() if file.is_file())
TEXTS = [PAGE, *FILES]
SCRIPT = ROOT / "deploy" / "slurm.sh"


def read(file):
    return file.read_text(encoding="utf-8")


def documents(name):
    return {entry["kind"]: entry for entry in yaml.safe_load_all(read(ROOT / "deploy" / name))}


def commands_of_the_page():
    """Every command of the page's consoles, as words."""
    for block in re.findall(r"```console\n(.*?)```", read(PAGE), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if line.startswith("$ "):
                yield shlex.split(line[2:], comments=True)


def searches():
    """What is given to `senas search`, wherever it stands."""
    for words in commands_of_the_page():
        if "senas" in words:
            at = words.index("senas")
            if words[at + 1] == "search":
                yield words[at + 2 :]
        elif words[0] == "sbatch":
            yield words[words.index("deploy/slurm.sh") + 1 :]
    yield documents("kuberay.yaml")["Job"]["spec"]["template"]["spec"]["containers"][0]["command"][2:]
    yield ["configs/digits.yaml", *shlex.split(read(SCRIPT).partition('senas search "$@"')[2].partition("&")[0])]


@pytest.mark.parametrize("words", list(searches()), ids=" ".join)
def test_every_search_has_options_that_exist_and_a_configuration_that_is_right(words):
    search = typer.main.get_command(app).commands["search"]
    given = search.make_context("search", list(words)).params
    config = given["config"] if str(given["config"]).startswith("configs/") else "configs/cifar10-resnet20.yaml"
    assert load_config(ROOT / config, given["overrides"] or ())


def test_the_page_has_searches_of_every_kind():
    addresses = [
        word for words in searches() for word in words if "ray://" in word or word == "auto" or ":6379" in word
    ]
    assert {address.partition(":")[0] for address in addresses} >= {"auto", "ray", "10.0.0.1"}


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_nothing_binds_to_all_interfaces(file):
    settings = [line.partition("#")[0] if file != PAGE else line for line in read(file).splitlines()]
    bound = [line for line in settings if re.search(r"dashboard-host[=: ]+\S*(0\.0\.0\.0|::)", line)]
    assert not bound
    assert not any(re.search(r"serviceType: *(LoadBalancer|NodePort)|hostPort|hostNetwork", line) for line in settings)


def test_ray_asks_for_a_token_wherever_a_file_starts_it():
    on_aws = yaml.safe_load(read(ROOT / "deploy" / "ray-cluster.yaml"))
    starts = [on_aws[f"{kind}_start_ray_commands"][-1] for kind in ("head", "worker")]
    assert all("RAY_AUTH_MODE=token" in start for start in starts)
    assert documents("kuberay.yaml")["RayCluster"]["spec"]["authOptions"] == {"mode": "token"}
    assert "export RAY_AUTH_MODE=token RAY_AUTH_TOKEN" in read(SCRIPT)


@pytest.mark.parametrize("file", TEXTS, ids=lambda file: file.name)
def test_no_password_and_no_token_is_written_down(file):
    text = read(file)
    urls = re.findall(r"postgresql\+psycopg://[^\s\"'`]+", text)
    assert all(make_url(url).password is None for url in urls)
    assert not re.search(r"(PGPASSWORD|RAY_AUTH_TOKEN)(=|, value: *|: )(?!\.\.\.|\$)[\w\"']", text)
    assert "stringData" not in text
    assert "--from-literal" not in text


def test_ray_up_takes_its_file():
    validate_config(prepare_config(yaml.safe_load(read(ROOT / "deploy" / "ray-cluster.yaml"))))


def test_pods_may_do_no_more_than_they_need():
    found = documents("kuberay.yaml")
    cluster = found["RayCluster"]["spec"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    for pod in [group["template"]["spec"] for group in groups] + [found["Job"]["spec"]["template"]["spec"]]:
        assert pod["securityContext"]["runAsNonRoot"]
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            assert container["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
            }
            assert container["image"] == "REGISTRY/senas:0.1.0"
    assert found["Job"]["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] >= 600
    selected = found["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"]
    assert selected == {"ray.io/cluster": found["RayCluster"]["metadata"]["name"]}


def test_versions_are_those_of_the_constraints():
    pinned = dict(line.split("==") for line in read(ROOT / "constraints.txt").splitlines() if "==" in line)
    assert documents("kuberay.yaml")["RayCluster"]["spec"]["rayVersion"] == pinned["ray"]
    assert "--constraint constraints.txt" in read(ROOT / "deploy" / "Dockerfile")


def test_the_image_gets_every_package_and_no_root():
    lines = read(ROOT / "deploy" / "Dockerfile").splitlines()
    for package in ("search_space", "trainers", "results", "nas"):
        assert f"COPY {package} {package}" in lines
    assert lines.index("USER 1000") > max(i for i, line in enumerate(lines) if line.startswith("RUN"))


def test_the_slurm_script_is_sound_bash():
    subprocess.run(["bash", "-n", SCRIPT], check=True)
    if shellcheck := shutil.which("shellcheck"):
        done = subprocess.run([shellcheck, SCRIPT], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


def test_every_file_that_the_page_names_exists():
    for name in re.findall(r"(?:deploy|configs)/[\w.-]+\w", read(PAGE)):
        assert (ROOT / name).is_file(), name
