"""The doctor looks at every node of a cluster, and tells what is wrong with which."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from study import doctor
from tests.conftest import SIDE, TINY
from tests.support.hosts import PORT, Host, hosts

pytestmark = pytest.mark.cluster


@pytest.fixture
def bucket(tmp_path: Path) -> Path:
    return tmp_path / "bucket"


@pytest.fixture
def two(tmp_path: Path, own_cache: Path, bucket: Path, photo_folder: Path) -> Iterator[list[Host]]:
    """A head, and a node with a cache and a bucket of its own, and no photos."""
    with hosts(2, [own_cache, bucket, photo_folder]) as there:
        head, node = there
        head.ray(gpus=1, cpus=1)
        node.ray(head, gpus=1, cpus=1)
        yield there


def ask(head: Host, photos: Path, *more: object) -> tuple[int, str, str]:
    process = head.start(
        sys.executable, doctor.__file__, "--address", f"{head.address}:{PORT}", "--data", photos,
        "--backbone", TINY, "--weights", "none", "--image-size", SIDE, "--mode", "freeze",
        "finetune", "--train-ratio", 0.2, 0.8, "--offline", *more, TL_STUDY_LOGICAL_GPUS=1,
    )  # fmt: skip
    printed, errors = process.communicate(timeout=200)
    return process.returncode, printed, errors


def test_all_nodes_are_looked_at_and_measured(two: list[Host], photo_folder: Path) -> None:
    code, printed, errors = ask(two[0], photo_folder)
    assert (code, errors) == (0, ""), printed
    nodes, rest = printed.split("checks")
    assert [host.address in nodes for host in two] == [True, True]
    assert nodes.count("over Ray") == 2
    assert "2 GPUs of a cluster of 2 nodes" in rest
    assert "ETA of this study: 0:0" in rest
    assert "the study can start" in rest


def test_what_one_node_can_not_do_is_told_of_it(
    two: list[Host], photo_folder: Path, own_cache: Path, bucket: Path
) -> None:
    head, node = two
    for path in (own_cache, bucket):
        mount = node.start("mount", "-o", "remount,bind,ro", path)
        assert mount.communicate() == ("", "")
    code, printed, errors = ask(head, photo_folder, "--storage", bucket.as_uri())
    assert code == 2
    at = f"  --address {head.address}:{PORT}: node {node.address}: "
    title, cache, storage = errors.splitlines()
    assert title == "error: the study can't start"
    assert cache.startswith(f"{at}--cache {own_cache}: {own_cache} can't be written: Read-only")
    assert storage.startswith(f"{at}--storage {bucket.as_uri()}: ")
    assert "Read-only file system" in storage
    assert printed.count("can't be written") == 2
    assert "speed not measured" in printed


def test_a_cluster_that_grows_has_its_heads_measured_meanwhile(photo_folder: Path) -> None:
    with hosts(1) as [head]:
        head.ray(gpus=0, cpus=1)
        code, printed, errors = ask(head, photo_folder, "--gpus", 2)
    assert (code, errors) == (0, ""), printed
    assert "the cluster has no GPU now" in printed
    assert "not measured: networks, as no node with a GPU is up yet" in printed
    assert "many at once, 8 seeds" in printed
    assert "ETA of this study: not known, as not every speed is known" in printed
