"""Files of a study that somebody else replaced: no code in them runs.

A trap replaces a file; it is a pickle that makes a folder when it is unpickled.
"""

import json
import pickle
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pandas as pd
import pytest

from study import predict, report
from tests.conftest import QUICK
from tests.support.core.weights_files import Trap, sha256
from tests.support.models import make_model
from tests.support.studies.ray_runs import FinishedStudy, RayRun
from tests.support.study_fixtures import Capture, Run
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.inference.serialization import save_model

Spring = Callable[[Path], None]
READ = {"study.json", "ledger.jsonl", "winner/model.json", "winner/predictions.csv"}
"""The files that a report reads, besides pictures of errors."""


@pytest.fixture
def spring(tmp_path: Path) -> Iterator[Spring]:
    """Replaces a file or folder by a trap; at the end none may have sprung."""
    sprung = tmp_path / "sprung"

    def replace(path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        # The line ends, because readers of a ledger ignore an unfinished last line.
        path.write_bytes(pickle.dumps(Trap(sprung)) + b"\n")

    yield replace
    assert not sprung.exists()


def test_trap_springs_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


@pytest.mark.parametrize("name", sorted(READ))
def test_report_of_a_file(undrawn_study: Path, spring: Spring, name: str, capsys: Capture) -> None:
    spring(undrawn_study / name)
    assert report.main(["tiny"]) == 2
    title = "error: the report can't be made\n"
    start = f"{title}  runs/tiny: its files can't be read by this version of tl-study ("
    assert re.fullmatch(rf"{re.escape(start)}\w+: .*\)\n", capsys.readouterr().err)


def test_report_reads_no_other_file(undrawn_study: Path, spring: Spring, capsys: Capture) -> None:
    read = {undrawn_study / name for name in READ}
    for file in [file for file in undrawn_study.rglob("*") if file.is_file()]:
        if file not in read:
            spring(file)
    assert report.main(["tiny"]) == 0
    assert (undrawn_study / "report.html").read_text().startswith("<!DOCTYPE html>")
    for name in ("figures", "winner/mistakes", "winner"):  # Folders.
        spring(undrawn_study / name)
        code = report.main(["tiny"])
        assert (code, "made\n  runs/tiny" in capsys.readouterr().err) in [(0, False), (2, True)]


@pytest.mark.parametrize("name", ["../../private.jpg", "/private.jpg", "mistakes/link.jpg"])
def test_no_picture_from_elsewhere(undrawn_study: Path, name: str, capsys: Capture) -> None:
    winner = undrawn_study / "winner"
    table = pd.read_csv(winner / "predictions.csv", keep_default_na=False)
    table.loc[table["mistake"] == "mistakes/01.jpg", "mistake"] = name
    table.to_csv(winner / "predictions.csv", index=False)
    shutil.copy(winner / "mistakes" / "01.jpg", "private.jpg")
    (winner / "mistakes" / "link.jpg").symlink_to(Path("private.jpg").resolve())
    assert report.main(["tiny"]) == 2
    assert f"'{name}' lies outside of runs/tiny/winner" in capsys.readouterr().err


@pytest.mark.parametrize(("name", "sealed"), [
    (CARD, False), (WEIGHTS, False), (WEIGHTS, True),
    ("", False),
], ids=["card", "weights", "weights whose hash the card has", "folder"])  # fmt: skip
def test_predict_with_a_replaced_file(
    tmp_path: Path, spring: Spring, photo_folder: Path, name: str, sealed: bool,
    capsys: Capture,
) -> None:  # fmt: skip
    winner = tmp_path / "winner"
    save_model(winner, make_model())
    spring(winner / name)
    if sealed:
        card = json.loads((winner / CARD).read_text()) | {"sha256": sha256(winner / name)}
        (winner / CARD).write_text(json.dumps(card))
    assert predict.main([str(tmp_path), str(photo_folder)]) == 2
    assert capsys.readouterr().err.startswith("error: there is no model to predict with\n  ")


def test_replay_of_traps(
    run: Run, photo_folder: Path, run_alone: Run, spring: Spring, capsys: Capture
) -> None:
    assert run("--data", photo_folder, *QUICK, "--offline", "--name", "mine") == 0
    ledger = Path("runs/mine/ledger.jsonl")
    (ledger.parent / ".mlflow.lock").touch()  # As the process leaves it that sends to MLflow.
    for file in set(ledger.parent.iterdir()) - {ledger}:
        spring(file)
    assert run_alone("--replay", "mine/0") == 0
    spring(ledger)
    capsys.readouterr()
    assert run_alone("--replay", "mine/0") == 2
    assert "--replay mine/0: its files can't be read by this" in capsys.readouterr().err


@pytest.mark.integration
def test_files_of_ray_are_never_read(
    finished_study: FinishedStudy, ray_run: RayRun, run_alone: Run, uri: str, spring: Spring
) -> None:
    mine = finished_study.copy(Path("runs/mine"))
    assert list(mine.rglob("*.pkl")), "or there is nothing to try"
    kept = {mine / name for name in (*READ, f"winner/{WEIGHTS}", "mlflow.json", "optuna.log")}
    for file in [file for file in mine.rglob("*") if file.is_file()]:
        if file not in kept:
            spring(file)
    assert run_alone("--replay", "mine/0") == 0
    assert report.main(["mine"]) == 0
    assert predict.main(["runs/mine", str(finished_study.photos)]) == 0
    process = ray_run.start("--extend", "mine", "--trials", 2, "--tracking-uri", uri)
    code, *printed = ray_run.finish(process)
    assert code == 0, printed
    assert len(pd.read_csv(mine / "trials.csv")) == 7
