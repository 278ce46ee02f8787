"""Loading what a stranger wrote: nothing of it is run, no memory is taken for what it claims, no path leads out."""

import json
import pickle
import resource
import struct
import sys
import time
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any

import pytest
import torch
from exports import mixed_architecture, quick_export, sign_again, sound_export, study_of, trained_network, trial_of
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from se_block import se_block

import results
from results.files import read_architecture, read_metadata
from search_space import Architecture, Backbone, InputError

MOST_MEMORY = 300 << 20
MOST_SECONDS = 60
PAYLOAD = "import pathlib; pathlib.Path('{}').touch()"


@pytest.fixture(scope="module")
def sound(backbone: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sound_export(backbone, tmp_path_factory.mktemp("sound"))


@pytest.fixture
def export(sound: Path, tmp_path: Path) -> Path:
    return Path(copytree(sound, tmp_path / "best"))


def refused(folder: Path, match: str) -> None:
    """Loading is refused, in little time and with little memory."""
    sign_again(folder)
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10, time.monotonic()
    with pytest.raises(InputError, match=match) as told:
        results.load(folder)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10) - before < MOST_MEMORY
    assert time.monotonic() - began < MOST_SECONDS
    assert len(str(told.value)) < 1000


class _Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def __reduce__(self) -> Any:
        return Path.touch, (self.file,)


def test_programs_and_pickles_are_not_touched(export: Path, tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    for name in ("model.pt2", "model.onnx"):
        (export / name).write_bytes(pickle.dumps(_Touch(ran)))
    for name in ("model.py", "torch.py", "results.py", "conftest.py"):
        (export / name).write_text(PAYLOAD.format(ran))
    results.load(export)
    torch.save(_Touch(ran), export / "model.safetensors")
    refused(export, "is damaged or no safetensors file")
    assert not ran.exists()


def header(entries: Any, data: bytes = b"", length: int | None = None) -> bytes:
    text = entries if isinstance(entries, bytes) else json.dumps(entries).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def entry(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\0",
        header({}, length=2**63),
        header({}, length=2**32),
        header(b"[" * 100_000),
        header(b"{}x"),
        header(b"\xff\xfe"),
        header([1, 2]),
        header({"a": 3}),
        header({"a": entry([2**62, 2**62], 0, 8)}, bytes(8)),
        header({"a": entry([2**40], 0, 2**42)}, bytes(8)),
        header({"a": entry([-2], 0, 8)}, bytes(8)),
        header({"a": entry([2], -8, 0)}, bytes(8)),
        header({"a": entry([2], 8, 0)}, bytes(8)),
        header({"a": entry([2], 0, 8), "b": entry([2], 4, 12)}, bytes(12)),
        header({"a": entry([2], 0, 8), "b": entry([2], 0, 8)}, bytes(8)),
        header({"a": entry([2], 0, 8)}, bytes(80)),
        header({"a": entry([2], 0, 8, "F7")}, bytes(8)),
    ],
    ids=range(18),
)
def test_weights_that_lie_about_their_sizes(export: Path, content: bytes) -> None:
    (export / "model.safetensors").write_bytes(content)
    refused(export, r"model\.safetensors is damaged or no safetensors file")


@pytest.mark.parametrize("dtype", ["F64", "BF16", "I32", "F8_E4M3", "F4", "C64", "BOOL"])
def test_weights_of_another_type(export: Path, dtype: str) -> None:
    (export / "model.safetensors").write_bytes(header({"conv1.bias": entry([64], 0, 512, dtype)}, bytes(512)))
    refused(export, r"model\.safetensors (is damaged|does not fit)")


def test_numbers_of_another_type_are_not_taken_for_the_networks(export: Path) -> None:
    from safetensors.torch import load_file, save_file

    state = load_file(export / "model.safetensors")
    save_file({key: tensor.double() for key, tensor in state.items()}, export / "model.safetensors")
    refused(export, r"has conv1\.weight of torch\.float64 where the network has torch\.float32 \(and \d+ more\)")


@pytest.mark.parametrize("cut", [1, 100, 5000])
def test_weights_that_end_early(export: Path, cut: int) -> None:
    content = (export / "model.safetensors").read_bytes()
    (export / "model.safetensors").write_bytes(content[:-cut])
    refused(export, "is damaged")


LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 12)
)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (LAUGHS + "backbone: *a11\n", r"it has the alias \*a0"),
        ("&x backbone: *x\n", "alias"),
        ("[" * 100_000, "nested deeper"),
        ("{a: " * 100_000, "nested deeper"),
        ("x" * (1 << 20) + "x", "has more than 1,048,576 bytes"),
        ("a: " + "9" * 5000, "integer string conversion"),
        ("a: 2001-99-99", "month must be"),
        ("a: !!python/object/apply:os.system ['true']", "not valid YAML"),
        ("a: !!python/name:os.system", "not valid YAML"),
        ("a: \0", "not valid YAML"),
        ("", "must be a mapping"),
        ("--- 1\n--- 2", "not valid YAML"),
    ],
    ids=range(12),
)
def test_yaml_that_is_no_architecture(export: Path, text: str, match: str) -> None:
    (export / "architecture.yaml").write_text(text)
    refused(export, match)


@pytest.mark.parametrize("name", ["architecture.yaml", "metadata.json"])
def test_bytes_that_are_no_text(export: Path, name: str) -> None:
    (export / name).write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(InputError, match=name):
        (read_metadata if name == "metadata.json" else read_architecture)(export)


@pytest.mark.parametrize("depth", [10**4, 10**9, 10**18])
def test_a_network_of_countless_layers(export: Path, depth: int) -> None:
    options = (("depth", 6 * depth + 4), ("dropout", 0.0), ("widen", 1))
    giant = Architecture(Backbone("wide_resnet", 10, (1, 8, 8), options=options))
    (export / "architecture.yaml").write_text(giant.to_yaml())
    refused(export, "far larger than what|cannot be made")


@pytest.mark.parametrize("number", [10**7, 10**9, 10**12, 10**18, 10**30])
@pytest.mark.parametrize("where", ["classes", "width", "channels", "hidden", "kernel"])
def test_a_network_of_gigantic_layers(export: Path, backbone: Backbone, where: str, number: int) -> None:
    sites: dict[str, Any] = {"hidden": se_block("pre", (number, number)), "kernel": _eca(number + 1)}
    changes: dict[str, Any] = {
        "classes": {"num_classes": number},
        "width": {"options": (("width", number),)},
        "channels": {"input_size": (number, 8, 8)},
    }
    giant = Architecture(
        replace(backbone, **changes.get(where, {})), (("layer1.0", sites[where]),) if where in sites else ()
    )
    (export / "architecture.yaml").write_text(giant.to_yaml())
    refused(export, ".")


def test_images_of_gigantic_sides(export: Path, backbone: Backbone) -> None:
    """They cost nothing until somebody gives such an image."""
    for side in (10**7, 10**9, 10**12, 10**30):
        giant = Architecture(replace(backbone, input_size=(1, side, side)), mixed_architecture(backbone).sites)
        (export / "architecture.yaml").write_text(giant.to_yaml())
        if side > 10**7:
            refused(export, "does not accept images of|can be made")
        else:
            sign_again(export)
            assert results.load(export)(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


def _eca(kernel: int) -> Any:
    from search_space import SE

    return SE("pre", "eca", (("kernel", kernel),))


def test_a_block_of_countless_layers(export: Path, backbone: Backbone) -> None:
    giant = Architecture(backbone, (("layer1.0", se_block("pre", (1,) * 20_000)),))
    (export / "architecture.yaml").write_text(giant.to_yaml())
    refused(export, "far larger than what")


@pytest.mark.parametrize("name", ["architecture.yaml", "model.safetensors", "metadata.json"])
def test_links_that_lead_out_of_the_export(export: Path, tmp_path: Path, name: str) -> None:
    (export / name).rename(tmp_path / "elsewhere")
    (export / name).symlink_to("../elsewhere")
    with pytest.raises(InputError, match=f"{name} is a link out of the export"):
        results.load(export)


def test_names_of_checksums_are_no_paths(export: Path, tmp_path: Path) -> None:
    """Only the files that are loaded are looked at, whatever else is listed."""
    metadata = json.loads((export / "metadata.json").read_text())
    metadata["sha256"] |= {"../../x": "0", "/dev/zero": "0", "\0": "0", "": "0"}
    (export / "metadata.json").write_text(json.dumps(metadata))
    results.load(export)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("[" * 200_000, "not valid JSON"),
        ('{"a":' * 200_000, "not valid JSON"),
        ('{"sha256": ' + "9" * 5000 + "}", "not valid JSON"),
        ('{"sha256": []}', "sha256 is of the type list"),
        ('{"sha256": {}, "study": 3}', "study is of the type int"),
        ('{"sha256": {}, "config": []}', "config is of the type list"),
        ('{"sha256": {}, "class_names": {"0": "cat"}}', "class_names is of the type dict"),
        (" " * (1 << 24) + "{}", "more than 16,777,216 bytes"),
        ('{"sha256": {"architecture.yaml": {}}}', "is not what was exported"),
    ],
    ids=range(9),
)
def test_metadata_of_wrong_types(export: Path, text: str, match: str) -> None:
    (export / "metadata.json").write_text(text)
    with pytest.raises(InputError, match=match):
        results.load(export)


@pytest.mark.parametrize("names", [[], ["a"] * 9, ["a"] * 11, [1] * 10, [None] * 10, [["a"]] * 10])
def test_class_names_that_are_none(export: Path, names: list[object]) -> None:
    metadata = json.loads((export / "metadata.json").read_text())
    (export / "metadata.json").write_text(json.dumps(metadata | {"class_names": names}))
    with pytest.raises(InputError, match="class_names must be a list of 10 texts"):
        results.load(export)


def test_an_export_from_before_class_names(export: Path) -> None:
    metadata = json.loads((export / "metadata.json").read_text())
    del metadata["class_names"]
    (export / "metadata.json").write_text(json.dumps(metadata))
    assert results.load(export).class_names is None


OWN_CODE = """
import pathlib
pathlib.Path({!r}).touch()
import torch

class Block(torch.nn.Identity):
    def __init__(self, channels):
        super().__init__()

def network(in_channels=1, num_classes=10):
    return torch.nn.Sequential(torch.nn.Conv2d(in_channels, 4, 1), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten(),
                               torch.nn.Linear(4, num_classes))
"""


@pytest.mark.parametrize("where", ["backbone", "block"])
def test_code_is_imported_only_on_trust(backbone: Backbone, tmp_path, monkeypatch, where: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    ran = tmp_path / "ran"
    module = f"a_strangers_{where}"
    (tmp_path / f"{module}.py").write_text(OWN_CODE.format(str(ran)))
    block = replace(se_block("pre", (1,)), kind=f"{module}:Block", settings=())
    architecture = (
        Architecture(Backbone(f"{module}:network", 10, (1, 8, 8)))
        if where == "backbone"
        else Architecture(backbone, (("layer1.0", block),))
    )
    trial = trial_of(architecture, trained_network(architecture), tmp_path / "checkpoint")
    folder = quick_export(study_of(trial), trial, tmp_path / "best")
    ran.unlink()
    del sys.modules[module]
    with pytest.raises(InputError, match=f"names code that is not senas's, {module}.*trust=True"):
        results.load(folder)
    assert not ran.exists()
    network = results.load(folder, trust=True)
    assert network(torch.zeros(2, 1, 8, 8)).shape == (2, 10)


@pytest.mark.parametrize("name", ["architecture.yaml", "model.safetensors", "metadata.json"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_refused_or_harmless(sound: Path, tmp_path, name: str, data: st.DataObject) -> None:
    """Whatever bytes are changed: an export is loaded, or refused with a line that says why."""
    folder = Path(copytree(sound, tmp_path / "best", dirs_exist_ok=True))
    content = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        near = min(len(content) - 1, 400)  # where the sizes are
        begin = data.draw(st.integers(0, near) | st.integers(0, len(content) - 1))
        length = data.draw(st.integers(0, 8))
        content[begin : begin + length] = data.draw(st.binary(max_size=8))
    (folder / name).write_bytes(content)
    if name != "metadata.json":
        sign_again(folder)
    try:
        network = results.load(folder)
    except InputError:
        return
    assert network(torch.zeros(1, 1, 8, 8)).shape[0] == 1
