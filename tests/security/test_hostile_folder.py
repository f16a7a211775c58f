"""Files of a study that somebody else has replaced: nothing in them runs, whatever is asked of it.

A trap in the place of a file is a pickle that makes a folder when it is unpickled.
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
from tests.conftest import SIDE, TINY
from tests.support.core.weights_files import Trap, sha256
from tests.support.models import make_model
from tests.support.studies.ray_runs import RayRun, ray_runs
from tests.support.study_fixtures import Run
from tl_core.inference.serialization import save_model

Spring = Callable[[Path], None]


@pytest.fixture
def spring(tmp_path: Path) -> Iterator[Spring]:
    """Puts a trap in the place of a file or folder; none may have sprung at the end."""
    sprung = tmp_path / "sprung"

    def replace(path: Path) -> None:
        if path.is_dir():
            shutil.rmtree(path)
        # With a whole line: a ledger ends where a kill has cut its last one.
        path.write_bytes(pickle.dumps(Trap(sprung)) + b"\n")

    yield replace
    assert not sprung.exists()


def test_a_trap_springs_where_it_is_unpickled(tmp_path: Path) -> None:
    pickle.loads(pickle.dumps(Trap(tmp_path / "sprung")))
    assert (tmp_path / "sprung").is_dir()


READ = {"study.json", "ledger.jsonl", "winner/model.json", "winner/predictions.csv"}
"""What a report is made from, apart from pictures of mistakes."""


@pytest.mark.parametrize("name", sorted(READ))
def test_report_of_a_replaced_file(
    undrawn_study: Path, spring: Spring, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spring(undrawn_study / name)
    assert report.main(["tiny"]) == 2
    told = capsys.readouterr().err
    start = "error: runs/tiny: its files can't be read by this version of tl-study ("
    assert re.fullmatch(rf"{re.escape(start)}\w+: .*\)\n", told), told


def test_report_reads_no_other_file(undrawn_study: Path, spring: Spring) -> None:
    others = [file for file in undrawn_study.rglob("*") if file.is_file()]
    for file in others:
        if str(file.relative_to(undrawn_study)) not in READ:
            spring(file)
    assert report.main(["tiny"]) == 0
    assert (undrawn_study / "report.html").read_text().startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("name", ["winner", "winner/mistakes", "figures", "report.html"])
def test_report_where_a_folder_was_replaced(
    undrawn_study: Path, spring: Spring, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    spring(undrawn_study / name)
    code = report.main(["tiny"])
    assert (code, "error: runs/tiny: " in capsys.readouterr().err) in [(0, False), (2, True)]


@pytest.mark.parametrize("name", ["../../private.jpg", "/private.jpg", "mistakes/link.jpg"])
def test_report_takes_no_picture_from_elsewhere(
    undrawn_study: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(undrawn_study / "winner" / "predictions.csv", keep_default_na=False)
    table.loc[table["mistake"] == "mistakes/01.jpg", "mistake"] = name
    table.to_csv(undrawn_study / "winner" / "predictions.csv", index=False)
    shutil.copy(undrawn_study / "winner" / "mistakes" / "01.jpg", "private.jpg")
    (undrawn_study / "winner" / "mistakes" / "link.jpg").symlink_to(Path("private.jpg").resolve())
    assert report.main(["tiny"]) == 2
    assert f"'{name}' lies outside of runs/tiny/winner" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["model.json", "model.safetensors", "winner"])
@pytest.mark.parametrize("sealed", [True, False])
def test_predict_with_a_replaced_file(
    tmp_path: Path, spring: Spring, photo_folder: Path, name: str, sealed: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    winner = tmp_path / "winner"
    save_model(winner, make_model())
    spring(winner if name == "winner" else winner / name)
    if sealed and (winner / "model.safetensors").is_file():
        _seal(winner, name)
    assert predict.main([str(tmp_path), str(photo_folder)]) == 2
    assert capsys.readouterr().err.startswith("error: there is no model to predict with\n  ")


def _seal(winner: Path, name: str) -> None:
    """Have the card say the hash of the trap, as somebody would who can write both files."""
    if name == "model.safetensors":
        card = json.loads((winner / "model.json").read_text())
        card["sha256"] = sha256(winner / name)
        (winner / "model.json").write_text(json.dumps(card))


@pytest.fixture
def mine(run: Run, photo_folder: Path) -> Path:
    """Folder of a single trial."""
    words = ("--backbone", "mlp", "--mode", "scratch", "--image-size", SIDE, "--epochs", 1)
    assert run("--data", photo_folder, "--debug", *words, "--name", "mine") == 0
    return Path("runs/mine")


def test_replay_of_replaced_files(
    mine: Path, run_alone: Run, spring: Spring, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = mine / "ledger.jsonl"
    for file in set(mine.iterdir()) - {ledger}:
        spring(file)
    assert run_alone("--replay", "mine/0") == 0
    spring(ledger)
    capsys.readouterr()
    assert run_alone("--replay", "mine/0") == 2
    assert "--replay mine/0: its files can't be read by this" in capsys.readouterr().err


@pytest.fixture
def ray_run() -> Iterator[RayRun]:
    with ray_runs() as runs:
        yield runs


@pytest.mark.integration
def test_whatever_ray_left_is_never_read(
    ray_run: RayRun, run_alone: Run, photo_folder: Path, tiny_weights: Path, uri: str,
    spring: Spring,
) -> None:  # fmt: skip
    process = ray_run.start(
        "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE,
        "--mode", "freeze", "--train-ratio", 0.4, "--epochs", 2, "--trials", 3,
        "--confirm-seeds", 2, "--name", "mine", "--tracking-uri", uri,
    )  # fmt: skip
    code, printed, told = ray_run.finish(process)
    assert code == 0, printed + told
    mine = Path("runs/mine")
    assert list(mine.rglob("*.pkl")), "or there is nothing to try"
    kept = {
        mine / name for name in (*READ, "winner/model.safetensors", "mlflow.json", "optuna.log")
    }
    for file in [file for file in mine.rglob("*") if file.is_file()]:
        if file not in kept:
            spring(file)
    assert run_alone("--replay", "mine/0") == 0
    assert report.main(["mine"]) == 0
    assert predict.main(["runs/mine", str(photo_folder)]) == 0
    process = ray_run.start("--extend", "mine", "--trials", 2, "--tracking-uri", uri)
    code, printed, told = ray_run.finish(process)
    assert code == 0, printed + told
    assert len(pd.read_csv(mine / "trials.csv")) == 5
