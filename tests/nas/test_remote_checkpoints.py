"""Checkpoints at a URL: a real S3 server on loopback, spoken to over HTTP."""

import pytest
from moto.server import ThreadedMotoServer

import results
from results import remote
from search_space.errors import InputError


@pytest.fixture(scope="module")
def server():
    made = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    made.start()
    yield made
    made.stop()


@pytest.fixture
def bucket(server, monkeypatch):
    """A URL in a bucket; the credentials come from the environment."""
    for name, value in (("AWS_ACCESS_KEY_ID", "someone"), ("AWS_SECRET_ACCESS_KEY", "something")):
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    host, port = server.get_host_and_port()
    settings = f"scheme=http&endpoint_override={host}:{port}&allow_bucket_creation=true"

    def url(path):
        return f"s3://checkpoints/{path}?{settings}"

    return url


def test_what_is_uploaded_comes_back(bucket, tmp_path):
    folder = tmp_path / "epoch-0001"
    (folder / "inner").mkdir(parents=True)
    (folder / "a.bin").write_bytes(b"\x00" * 100_000)
    (folder / "inner" / "b.txt").write_text("b")
    url = bucket("runs/trial-00000/epoch-0001")
    remote.upload(folder, url)
    back = tmp_path / "back"
    back.mkdir()
    remote.download(url, back)
    assert (back / "a.bin").read_bytes() == b"\x00" * 100_000
    assert (back / "inner" / "b.txt").read_text() == "b"
    assert remote.names(bucket("runs/trial-00000")) == ["epoch-0001"]
    remote.remove(url)
    assert remote.names(bucket("runs/trial-00000")) == []
    remote.remove(url)


def test_nothing_comes_from_where_nothing_is(bucket, tmp_path):
    remote.download(bucket("runs/nowhere"), tmp_path)
    assert list(tmp_path.iterdir()) == []
    assert remote.names(bucket("runs/nowhere")) == []


def test_a_url_of_no_known_kind_is_refused():
    with pytest.raises(InputError, match="nowhere://a/b is no place that can be opened"):
        remote.names("nowhere://a/b")


@pytest.mark.slow
def test_a_search_checkpoints_to_s3_goes_on_from_there_and_exports_from_there(senas, bucket):
    words = ["search", "tiny.yaml", "--trials", "6", "--set", "search.asha=null"]
    words += ["--set", f"checkpoints={bucket('runs')}"]
    long = [*words, "--set", "search.epochs=12"]
    process = senas.start(*long)
    senas.wait_until(lambda trials: any(trial.epochs >= 3 for trial in trials))
    senas.kill(process)
    before = senas.study().trials()
    senas.run(*long)
    after = senas.study().trials()
    assert {trial.state for trial in after} == {"COMPLETE"}
    for trial in before:
        assert after[trial.number].curve[: trial.epochs] == trial.curve
    best = senas.study().best()
    assert best.checkpoint == bucket(f"runs/tiny/trial-{best.number:05d}")
    assert sorted(remote.names(best.checkpoint)) == ["epoch-0011", "epoch-0012"]
    senas.export()
    results.load(senas.folder / "best")
