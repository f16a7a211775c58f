"""Studies on a cluster of several hosts come to what one machine comes to, whatever happens."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from study.records.ledger import read_events, read_records
from tests.conftest import SIDE, TINY, draw_folder
from tests.support.hosts import PORT, ROOT, Host, hosts, needs_hosts
from tests.support.programs import meeting_study
from tests.support.programs.meeting_study import WANTED
from tests.support.studies.ray_runs import ray_runs, results
from tl_core.files import LocalFile, replace_file
from tl_core.training.checkpoints import load_checkpoint

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]
STUDY = Path("runs/mine")
LEDGER = STUDY / "ledger.jsonl"
EPOCHS = 60
_LIMIT_S = 400.0


def command(photos: Path, weights: Path) -> list[object]:
    """A study whose draws do not depend on which trial ends first.

    Too few trials have a cell for any to be stopped early; a joint search of random trials does not
    begin with the best of another cell.
    """
    return [
        "--data", photos, "--backbone", TINY, "--weights", weights, "--image-size", SIDE,
        "--mode", "freeze", "finetune", "--train-ratio", 0.2, 0.8,
        "--epochs", EPOCHS, "--min-steps", 0,
        "--trials", 8, "--design", "joint", "--sampler", "random", "--confirm-seeds", 1,
        "--name", "mine", "--precision", "fp32", "--batch-size", 8, "--offline",
        "--checkpoint-every", 0,
    ]  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> list[Any]:
    """What the study comes to on one machine."""
    needs_hosts()
    home = tmp_path_factory.mktemp("alone")
    photos = draw_folder(home / "photos", ("cat", "dog"))
    places = ("--out", home, "--cache", home / "cache")
    with ray_runs() as runs:
        runs.succeed(runs.start(*command(photos, tiny_weights), *places))
    return results(home / "mine")


@pytest.fixture
def three(tmp_path: Path, own_cache: Path, photo_folder: Path) -> Iterator[list[Host]]:
    """Hosts with caches of their own; the last two have neither photos nor the study's folder."""
    with hosts(3, [own_cache, tmp_path / "runs", photo_folder]) as there:
        yield there


@pytest.fixture
def words(photo_folder: Path, tiny_weights: Path) -> list[object]:
    """The study's command line."""
    return command(photo_folder, tiny_weights)


@pytest.fixture
def meeting(tmp_path: Path) -> Path:
    """Where the nodes leave word that they have a network, see `meeting_study`."""
    (tmp_path / "meeting").mkdir()
    return tmp_path / "meeting"


def start(head: Host, meeting: Path, nodes: int, *given: object) -> "subprocess.Popen[str]":
    """Start the command line as a driver on the head; networks wait until `nodes` have one."""
    want(meeting, nodes)
    program = (meeting_study.__file__, meeting, *given, "--address", f"{head.address}:{PORT}")
    return head.start(sys.executable, *program, TL_STUDY_LOGICAL_GPUS=1, PYTHONPATH=ROOT)


def want(meeting: Path, nodes: int) -> None:
    """Have networks that are still to start wait until so many nodes have had one."""
    replace_file(meeting / WANTED, str(nodes).encode())


def finish(process: "subprocess.Popen[str]") -> str:
    printed, errors = process.communicate(timeout=_LIMIT_S)
    assert process.returncode == 0, printed + errors
    return printed


def epochs_of_networks() -> dict[int, int]:
    """Epochs so far of each trial that trains a network and goes on."""
    there = read_records(STUDY) if LEDGER.exists() else []
    return {
        r.trial: len(r.history)
        for r in there
        if r.status == "running" and r.config.mode != "freeze" and r.history
    }


def wait_for(wanted: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    end = time.monotonic() + _LIMIT_S
    while not wanted():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "not seen"
        time.sleep(0.05)


def warnings() -> list[str]:
    return [e["text"] for e, _ in read_events(LEDGER) if e["event"] == "warning"]


@contextmanager
def watching_checkpoints() -> Iterator[dict[str, list[int]]]:
    """Yield the epochs that each checkpoint held whenever it was looked at."""
    seen: dict[str, list[int]] = {}
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.05):
            for path in STUDY.glob("checkpoints/[0-9]*.ckpt"):
                with suppress(FileNotFoundError):
                    held = len(load_checkpoint(LocalFile(path))["history"])
                    seen.setdefault(path.name, []).append(held)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        over.set()
        thread.join()


def addresses(there: list[Host]) -> set[str]:
    return {host.address for host in there}


@pytest.mark.ci
def test_a_study_spreads_over_three_nodes_though_one_is_cut_off_for_20_s(
    alone: list[Any], three: list[Host], meeting: Path, words: list[object]
) -> None:
    head, *others = three
    head.ray()
    for other in others:
        other.ray(head)
    study = start(head, meeting, 3, *words)
    wait_for(lambda: len(epochs_of_networks()) == 3, study)
    others[1].cut()
    time.sleep(20)
    others[1].mend()
    printed = finish(study)
    assert "3 GPUs of a cluster of 3 nodes" in printed
    assert results(STUDY) == alone
    learned = {str(r.node) for r in read_records(STUDY) if r.config.mode != "freeze"}
    # A trial whose worker was silent for so long may have been taken up by another.
    lost = re.findall(
        r"^node ([\d.]+): .*; another worker continues it$", "\n".join(warnings()), re.M
    )
    assert learned | set(lost) == addresses(three)
    table = pd.read_csv(STUDY / "trials.csv")  # The driver has swept the frozen trials.
    assert set(table.loc[table["mode"] == "finetune", "node"]) <= addresses(three)
    for other in others:
        assert_has_its_own_copy(other)
    assert (STUDY / "winner" / "model.safetensors").exists()
    assert list((STUDY / "checkpoints").iterdir()) == []


def assert_has_its_own_copy(host: Host) -> None:
    """Images, features and the file of weights, of each one entry; and nothing of the study."""
    (cache,) = host.disk.glob("*-cache")
    entries = [path.parent.name for path in cache.glob("*/*") if path.is_dir()]
    assert sorted(entries) == ["features", "images", "weights"]
    assert not list(host.disk.glob("*-runs/*"))


def test_a_node_dies_and_another_joins(
    alone: list[Any], three: list[Host], meeting: Path, words: list[object]
) -> None:
    head, dies, joins = three
    head.ray()
    dies.ray(head)
    with watching_checkpoints() as held:
        study = start(head, meeting, 2, *words, "--gpus", 3)
        wait_for(lambda: sum(n > 5 for n in epochs_of_networks().values()) == 2, study)
        dies.kill()
        want(meeting, 3)
        joins.ray(head)
        printed = finish(study)
    assert "the cluster has 2 GPUs now; trials wait for the others until it grows" in printed
    assert results(STUDY) == alone
    assert any("another worker continues it" in text for text in warnings())
    assert not any("starts anew" in text for text in warnings())
    assert all(epochs == sorted(epochs) for epochs in held.values())
    assert joins.address in {r.node for r in read_records(STUDY)}


def test_the_driver_is_killed_and_resumed(
    alone: list[Any], three: list[Host], meeting: Path, words: list[object]
) -> None:
    head, *others = three
    head.ray(gpus=0)
    for other in others:
        other.ray(head)
    with watching_checkpoints() as held:
        study = start(head, meeting, 2, *words)
        wait_for(lambda: sum(n > 5 for n in epochs_of_networks().values()) == 2, study)
        study.kill()
        study.communicate()
        finish(start(head, meeting, 2, "--resume", "mine"))
    assert results(STUDY) == alone
    assert all(epochs == sorted(epochs) for epochs in held.values())
    learned = [r for r in read_records(STUDY) if r.config.mode != "freeze"]
    assert {r.node for r in learned} == addresses(others)
