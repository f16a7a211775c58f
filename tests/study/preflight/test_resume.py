"""Studies that were run before: replayed, extended."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from study.execution.replay import differences
from study.preflight.resume import _from_here, _updated
from study.records.ledger import read_records
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs, make_epoch, make_record, make_settings
from tests.support.studies.ray_runs import RayRun, ray_runs
from tests.support.studies.synthetic import tiny_study
from tests.support.study_fixtures import Run


@pytest.fixture
def mine(run: Run, photo_folder: Path, tiny_weights: Path) -> Path:
    """Folder of a frozen trial of two epochs, whose data are at hand."""
    net = ("--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE)
    words = ("--epochs", 2, "--train-ratio", 0.4, "--seeds", 2, "--name", "mine")
    assert run("--data", photo_folder, "--debug", *net, *words) == 0
    return Path("runs/mine")


def told(run: Run, capsys: pytest.CaptureFixture[str], *words: object) -> list[str]:
    capsys.readouterr()
    assert run(*words) == 2
    return [line.strip() for line in capsys.readouterr().err.splitlines() if line[:2] == "  "]


def test_replay_gives_the_same_numbers(
    mine: Path, run_alone: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (mine / "ledger.jsonl").read_text()
    capsys.readouterr()
    assert run_alone("--replay", "mine/0") == 0
    printed = capsys.readouterr().out
    assert "again: trial 0: freeze train_ratio=0.4" in printed
    assert re.search(r"epoch 2/2 .*\nthe same bit for bit: 2 epochs, test scores\n$", printed)
    assert (mine / "ledger.jsonl").read_text() == before


def test_replay_tells_of_other_numbers(
    mine: Path, run_alone: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    path = mine / "ledger.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        if line["event"] == "epoch" and line["metrics"]["epoch"] == 2:
            line["metrics"]["val_loss"] += 0.25
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run_alone("--replay", "mine/0") == 3
    printed = capsys.readouterr().out
    assert "not the same: val_loss of epoch 2 is 0.25 away, the most of 1 values" in printed


def test_replay_needs_the_same_data(
    mine: Path, run_alone: Run, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (40, 48)).save(photo_folder / "cat" / "new.png")
    (fault,) = told(run_alone, capsys, "--replay", "mine/0")
    assert re.match(r"--replay: \S+/photos is not what it was \(content hash \w+-32", fault)


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ("--replay mine", "--replay mine: NAME/TRIAL is expected, as in demo/7"),
        ("--replay tiny/99", "--replay tiny/99: no such trial; it has 0 to 12"),
        ("--replay tyni/0", "--replay tyni/0: no study tyni in runs/; there are: tiny"),
        ("--replay tiny/0 --lr 1", "--lr is not read with --replay, which keeps the study's"),
        ("--extend tiny", "--extend requires --trials N (additional trials)"),
        ("--extend tyni --trials 2", "--extend tyni: no study tyni in runs/; there are: tiny"),
        ("--extend tiny --trials 0", "--trials 0: must be greater than or equal to 1"),
        ("--resume tyni", "--resume tyni: no study tyni in runs/; there are: tiny"),
        ("--resume tiny --lr 1", "--lr is not read with --resume, which keeps the study's"),
        (
            "--extend tiny --trials 2 --epochs 3",
            "--epochs is not read with --extend, which keeps the study's",
        ),
    ],
)
def test_what_cannot_go_on(
    words: str, fault: str, run_alone: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_study().write(Path("runs/tiny"))
    (line,) = told(run_alone, capsys, *words.split())
    assert line.startswith(fault), line


def test_a_finished_study_says_so(run_alone: Run, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_study().write(Path("runs/tiny"))
    assert run_alone("--resume", "tiny") == 0
    assert capsys.readouterr().out == (
        "tiny is finished, with 3 trials: nothing to resume; "
        "python study/run.py --extend tiny --trials N adds more\n"
    )


def test_a_single_trial_is_not_resumed(
    mine: Path, run_alone: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    (line,) = told(run_alone, capsys, "--resume", "mine")
    assert line == "--resume mine: a single trial can't be resumed"


@pytest.mark.parametrize(
    "text", ["{}\n", "{\n", "[]\n", '{"event": "study", "name": "tiny", "about": {}, "at": 0}\n']
)
def test_ledger_that_cannot_be_read_is_told(
    text: str, run_alone: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tiny_study().write(Path("runs/tiny"))
    (folder / "ledger.jsonl").write_text(text)
    (line,) = told(run_alone, capsys, "--replay", "tiny/0")
    assert line == "--replay tiny/0: its files can't be read by this version of tl-study"


def test_trial_that_was_stopped_is_replayed_as_far_as_it_came(
    run: Run, run_alone: Run, photo_folder: Path, tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    words = ("--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE, "--mode", "lp_ft")
    words += ("--epochs", 3, "--train-ratio", 0.4, "--name", "mine")  # type: ignore[assignment]
    assert run("--data", photo_folder, "--debug", *words) == 0
    path = Path("runs/mine/ledger.jsonl")
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    kept = [x for x in lines if x["event"] != "epoch" or x["metrics"]["epoch"] < 3]
    for line in kept:
        if line["event"] == "end":
            line |= {"status": "pruned", "test": {}}
    path.write_text("".join(json.dumps(line) + "\n" for line in kept))
    assert run_alone("--replay", "mine/0") == 0
    assert capsys.readouterr().out.endswith("the same bit for bit: 2 epochs\n")


def test_differences_of_what_only_one_has() -> None:
    record = make_record(log_losses=(0.5, 0.25))
    history = [make_epoch(1, val_log_loss=0.5, images_per_s=7.0)]
    found = differences(record, history, {"test_accuracy": 1.0})
    assert found.pop("test_accuracy") == float("inf")
    assert set(found.values()) == {float("inf")}
    assert all(name.endswith("of epoch 2") for name in found)
    assert differences(record, record.history, {}) == {}


@pytest.fixture
def ray_run() -> Iterator[RayRun]:
    with ray_runs() as runs:
        yield runs


@pytest.mark.integration
def test_a_study_that_is_extended_is_one_study(
    ray_run: RayRun, uri: str, photo_folder: Path, tiny_weights: Path, client: MlflowClient
) -> None:
    first = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "freeze", "--train-ratio", 0.2, 0.4, "--epochs", 2, "--trials", 3,
        "--confirm-seeds", 2, "--name", "mine", "--tracking-uri", uri,
    )  # fmt: skip
    code, printed, err = ray_run.finish(first)
    assert code == 0, printed + err
    parent, *_ = all_runs(client)
    more = ray_run.start("--extend", "mine", "--trials", 2, "--tracking-uri", uri)
    code, printed, err = ray_run.finish(more)
    assert code == 0, printed + err
    assert "mine: 2 more trials of" in printed

    records = read_records(Path("runs/mine"))
    assert [r.kind for r in records[:9]] == ["search"] * 3 + ["confirm"] * 4 + ["search"] * 2
    ran = {(r.kind, r.config) for r in records[:7]}
    assert (
        sum((r.kind, r.config) in ran for r in records[9:]) <= 1
    )  # The winner's, for its weights.
    assert len(pd.read_csv("runs/mine/trials.csv")) == 5
    assert len(pd.read_csv("runs/mine/confirm.csv")) == 2
    study = json.loads(Path("runs/mine/study.json").read_text())
    assert (study["status"], study["settings"]["trials"]) == ("done", 5)
    runs = all_runs(client)
    assert [run.info.run_id for run in runs if run.data.tags["tl_study.kind"] == "study"] == [
        parent.info.run_id
    ]
    assert len(runs) == 1 + len(records)
    assert {run.info.status for run in runs} == {"FINISHED"}
    # Its weights were made once more, perhaps by another winner.
    assert str(client.get_model_version_by_alias("mine", "best").version) in ("1", "2")


def test_a_folder_below_is_told_by_its_way_from_here(own_folder: Path) -> None:
    assert _from_here(own_folder / "runs" / "mine") == Path("runs/mine")
    assert _from_here(own_folder.parent / "mine") == own_folder.parent / "mine"
    assert _from_here(own_folder) == own_folder


@pytest.mark.parametrize(
    ("given", "offline"),
    [
        ({}, True),
        ({"max_failures": "3"}, True),
        ({"tracking_uri": "sqlite:///a.db"}, False),
        ({"tracking_uri": "sqlite:///a.db", "offline": True}, True),
    ],
)
def test_a_study_that_sent_nothing_sends_when_it_is_told_where(
    given: dict[str, object], offline: bool
) -> None:
    assert _updated(make_settings(offline=True), given).offline is offline
