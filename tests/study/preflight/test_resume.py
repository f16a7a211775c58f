"""Studies that were run before: what is asked of them, and one that is extended."""

import json
from pathlib import Path

import pandas as pd
import pytest
from mlflow import MlflowClient

from study.config.command_line import parse
from study.preflight.resume import FinishedError, _from_here, _update, continued_setup, find_replay
from study.records.ledger import read_records
from study.run import main
from tests.conftest import SIDE, TINY
from tests.support.studies.builders import all_runs, make_settings
from tests.support.studies.ray_runs import RayRun
from tests.support.studies.synthetic import tiny_study
from tl_core.errors import InputError


def fault_of(words: str) -> str:
    """The one fault of a command line that names a study."""
    given = parse(words.split())
    with pytest.raises(InputError) as caught:
        find_replay(given) if "replay" in given else continued_setup(given)
    (fault,) = caught.value.faults
    return str(fault)


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
def test_a_study_that_can_not_be_continued(words: str, fault: str) -> None:
    tiny_study().write(Path("runs/tiny"))
    assert fault_of(words).startswith(fault)


def test_a_finished_study_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    tiny_study().write(Path("runs/tiny"))
    with pytest.raises(FinishedError, match=r"^tiny is finished, with 3 trials: nothing to resume"):
        continued_setup({"resume": "tiny"})
    assert main(["--resume", "tiny"]) == 0
    assert capsys.readouterr().out.endswith(
        "python study/run.py --extend tiny --trials N adds more\n"
    )


def test_a_single_trial_is_not_resumed() -> None:
    folder = tiny_study().write(Path("runs/mine"))
    ledger = (folder / "ledger.jsonl").read_text()
    (folder / "ledger.jsonl").write_text(ledger.replace('"debug": false', '"debug": true'))
    assert fault_of("--resume mine") == "--resume mine: a single trial can't be resumed"


@pytest.mark.parametrize(
    "text", ["{}\n", "{\n", "[]\n", '{"event": "study", "name": "tiny", "about": {}, "at": 0}\n']
)
def test_ledger_that_cannot_be_read_is_reported(text: str) -> None:
    folder = tiny_study().write(Path("runs/tiny"))
    (folder / "ledger.jsonl").write_text(text)
    why = "its files can't be read by this version of tl-study"
    assert fault_of("--replay tiny/0") == f"--replay tiny/0: {why}"


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


def test_a_folder_below_is_named_relative_to_the_working_folder(own_folder: Path) -> None:
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
def test_a_study_that_sent_nothing_sends_when_a_uri_is_given(
    given: dict[str, object], offline: bool
) -> None:
    assert _update(make_settings(offline=True), given).offline is offline
