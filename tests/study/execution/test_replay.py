"""A trial that is run again: the same numbers, or a list of what differs."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from study.execution.replay import differences, how_far
from study.run import main
from tests.conftest import QUICK, SIDE, TINY, draw_folder
from tests.support.studies.builders import make_epoch, make_record
from tests.support.study_fixtures import Capture

ONE = {"mode": ["freeze"], "train_ratio": ["0.4"], "lr": ["1e-3"], "aux_weight": ["0.5"]}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path) -> Path:
    """Folder of one trial of two epochs, whose data are here; only for reading."""
    root = tmp_path_factory.mktemp("finished")
    photos = draw_folder(root / "photos", ("cat", "dog"))
    net = ("--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE, "--mode", "lp_ft")
    words = ("--epochs", 2, "--min-steps", 0, "--train-ratio", 0.4, "--name", "mine", "--offline")
    place = ("--out", root, "--cache", root / "cache")
    assert main([*map(str, ("--data", photos, "--debug", *net, *words, *place))]) == 0
    return root / "mine"


@pytest.fixture
def mine(finished: Path) -> Path:
    """A copy in the place of new studies."""
    return Path(shutil.copytree(finished, "runs/mine"))


def edit(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any] | None]) -> None:
    """Change the events of a ledger, or remove them."""
    path = folder / "ledger.jsonl"
    lines = [change(json.loads(line)) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines if line))


def test_replay_gives_the_same_numbers(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = (mine / "ledger.jsonl").read_text()
    assert main(["--replay", "mine/0"]) == 0
    printed = capsys.readouterr().out
    assert "again: trial 0: lp_ft train_ratio=0.4" in printed
    assert re.search(r"epoch 2/2 .*\nthe same bit for bit: 2 epochs, test scores\n$", printed)
    assert (mine / "ledger.jsonl").read_text() == before


def test_replay_leaves_out_a_gpu_that_fails(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    check = "study.execution.replay.leave_out_sick_gpus"
    monkeypatch.setattr(check, lambda: ("GPU 1: CUDA error: [ECC]",))
    assert main(["--replay", "mine/0"]) == 0
    assert "note: left out is GPU 1: CUDA error: [ECC]\n" in capsys.readouterr().out


@pytest.fixture
def free_threads() -> Iterator[None]:
    """Whatever number of threads a test sets, it leaves those before."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("free_threads")
@pytest.mark.parametrize("threads", [2, 3])
def test_replay_has_as_many_threads_as_the_trial_had(
    threads: int, photo_folder: Path, capsys: Capture
) -> None:
    torch.set_num_threads(threads)
    words = ("--data", photo_folder, *QUICK, "--image-size", 64, "--train-ratio", 0.4)
    assert main([*map(str, words), "--name", "own", "--offline"]) == 0
    hardware = json.loads(Path("runs/own/study.json").read_text())["hardware"]
    assert hardware["threads"] == threads
    for now in (1, 4):
        torch.set_num_threads(now)
        assert main(["--replay", "own/0"]) == 0
        assert torch.get_num_threads() == threads
    assert capsys.readouterr().out.endswith("the same bit for bit: 1 epoch, test scores\n")


def test_replay_shows_other_numbers(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def worse(event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "epoch" and event["metrics"]["epoch"] == 2:
            event["metrics"]["val_loss"] += 0.25
        return event

    edit(mine, worse)
    assert main(["--replay", "mine/0"]) == 3
    printed = capsys.readouterr().out
    assert "not the same: val_loss of epoch 2 is 0.25 away, the most of 1 values" in printed


def test_replay_repeats_the_epochs_of_a_trial_that_was_stopped(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def stop(event: dict[str, Any]) -> dict[str, Any] | None:
        if event["event"] == "end":
            event |= {"status": "pruned", "test": {}}
        return None if event.get("metrics", {}).get("epoch") == 2 else event

    edit(mine, stop)
    assert main(["--replay", "mine/0"]) == 0
    assert capsys.readouterr().out.endswith("the same bit for bit: 1 epoch\n")


def test_replay_needs_the_same_data(
    finished: Path, mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def other(event: dict[str, Any]) -> dict[str, Any]:
        if event["event"] == "study":
            event["about"]["data"]["content"] = "x"
        return event

    for file in (finished.parent / "photos").glob("*/*"):
        os.utime(file, (1, 1))  # As a copy may have.
    assert main(["--replay", "mine/0"]) == 0
    edit(mine, other)
    assert main(["--replay", "mine/0"]) == 2
    why = r"the data of this study, \S+/photos, have changed: content hash was x, now \w+"
    assert re.search(why, capsys.readouterr().err)


def test_differences_of_what_only_one_has() -> None:
    record = make_record(log_losses=(0.5, 0.25))
    history = [make_epoch(1, val_log_loss=0.5, images_per_s=7.0)]
    found = differences(record, history, {"test_accuracy": 1.0})
    assert found.pop("test_accuracy") == float("inf")
    assert set(found.values()) == {float("inf")}
    assert all(name.endswith("of epoch 2") for name in found)
    assert differences(record, record.history, {}) == {}


def test_a_gpu_says_how_far_it_is_away() -> None:
    apart = {"val_loss of epoch 3": 0.0123, "test_accuracy": 0.004, "test_auroc": 0.001}
    found = "val_loss of epoch 3 is 0.0123 away, the most of 3 values"
    assert how_far(apart, free_order=False) == f"not the same: {found}"
    assert how_far(apart, free_order=True) == (
        f"not the same bits: {found}, and test scores are within 0.004; a GPU adds up in any "
        "order, and each step enlarges what differs; a study with --deterministic is repeated bit "
        "for bit"
    )
    assert "test scores" not in how_far({"val_loss of epoch 3": 1.0}, free_order=True)
