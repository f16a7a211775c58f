import errno
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from study.records.ledger import read_records
from study.run import main
from study.tracking.sender import NullSender, Show, show_nothing
from tests.conftest import QUICK, SIDE, TINY
from tests.support.studies.builders import all_runs
from tests.support.study_fixtures import Capture, Run
from tl_core.errors import GpuMemoryError

FILES = {
    "best.json", "ledger.jsonl", "mlflow.json", ".run.lock", "curves.png", "study.json",
    "trials.csv",
}  # fmt: skip
SENT = (*QUICK, "--epochs", 2, "--train-ratio", 0.4, "--name", "mine")
OWN_NET = (*SENT, "--offline")


def trial() -> Any:
    table = pd.read_csv("runs/mine/trials.csv")
    assert len(table) == 1
    return table.iloc[0]


@pytest.mark.parametrize(("mode", "n_epochs"), [("freeze", 2), ("probe", 1), ("partial", 2)])
def test_from_the_command_line_to_files(
    mode: str, n_epochs: int, run: Run, photo_folder: Path, tiny_weights: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    net = ("--backbone", TINY, "--weights", tiny_weights, "--image-size", SIDE, "--mode", mode)
    length = () if mode == "probe" else ("--epochs", 2, "--min-steps", 0)
    words = (*net, *length, "--train-ratio", 0.4, "--name", "mine")
    assert run("--debug", "--offline", "--data", photo_folder, *words) == 0

    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"mine: one trial of {TINY} on {photo_folder}, 40 images")
    epochs = [line for line in printed if line.startswith("epoch ")]
    assert [line.partition("  ")[0] for line in epochs] == (
        ["epoch 1/1"] if n_epochs == 1 else ["epoch 1/2", "epoch 2/2"]
    )
    assert all("  validation accuracy " in line for line in epochs)
    assert any(line.startswith("test accuracy ") for line in printed)
    assert "files: runs/mine/" in printed

    assert {path.name for path in Path("runs/mine").iterdir()} == FILES
    row = trial()
    scores = (
        []
        if mode == "freeze"
        else [f", brightness_{k} {row[f'test_brightness_{k}']:.4f}" for k in ("mae", "r2")]
    )
    assert f"test accuracy {row['test_accuracy']:.4f}{''.join(scores)}" in printed
    assert (row["status"], row["mode"], row["epochs"], row["seed"]) == ("done", mode, n_epochs, 0)
    assert 0 <= row["test_accuracy"] <= 1
    assert row["lr"] == 1e-3 or (mode == "probe" and math.isnan(row["lr"]) and row["l2"] > 0)
    best = json.loads(Path("runs/mine/best.json").read_text())
    assert best["trial"] == 0
    assert best["metrics"]["test_accuracy"] == row["test_accuracy"]
    assert json.loads(Path("runs/mine/study.json").read_text())["status"] == "done"
    with Image.open("runs/mine/curves.png") as curves:
        curves.load()


def test_what_was_chosen_and_scaled_is_recorded_and_replayed(
    run: Run, photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for i, kind in enumerate(("cat", "dog")):
        (photo_folder / kind / "masks").mkdir()
        Image.new("L", (9, 9), 200).save(photo_folder / kind / "masks" / "0.png")
        deep = np.full((9, 9), 1000 + 3000 * i, dtype=np.uint16)
        Image.fromarray(deep).save(photo_folder / kind / "deep.png")
    (photo_folder / "cat" / "broken.jpg").write_bytes(b"no picture")
    (photo_folder / "scripts").mkdir()
    (photo_folder / "scripts" / "a.py").write_text("print()")
    words = ("--data", photo_folder, *OWN_NET, "--exclude", "masks", "--exclude", "scripts")
    assert run(*words, "--skip-bad-images") == 0
    printed = capsys.readouterr().out
    note = "note: 2 pictures of 16-bit grey: 0 becomes black and 4,095 white, by the range of all"
    assert note in printed.splitlines()
    study = json.loads(Path("runs/mine/study.json").read_text())
    assert study["settings"]["exclude"] == ["masks", "scripts"]
    assert study["data"]["scales"] == {"16-bit grey": [0, 4095]}
    assert study["data"]["images"] == 42
    assert study["data"]["skipped"][0].startswith("cat/broken.jpg: a text file")
    Image.new("L", (9, 9), 100).save(photo_folder / "cat" / "masks" / "1.png")
    assert main(["--replay", "mine/0"]) == 0, "what is left out may change"
    Image.new("L", (9, 9), 100).save(photo_folder / "cat" / "broken.jpg")
    assert main(["--replay", "mine/0"]) == 2
    error = capsys.readouterr().err
    assert error.endswith(
        " have changed: 1 file that it left out (cat/broken.jpg) can be read now; take it out of "
        "the data, or start a new study\n"
    )
    (photo_folder / "cat" / "broken.jpg").unlink()
    assert main(["--replay", "mine/0"]) == 0, "the way out"
    Image.new("L", (9, 9), 100).save(photo_folder / "cat" / "more.png")
    assert main(["--replay", "mine/0"]) == 2
    error = capsys.readouterr().err
    assert "have changed: 1 file (cat/more.png) added; put the data back" in error
    assert "can be read now" not in error


def test_a_trial_and_its_learned_weight_are_sent(
    run: Run, photo_folder: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data", photo_folder, *SENT, "--aux-weight", "auto") == 0
    row = trial()
    assert row["aux_weight"] == "auto"
    assert 0 < row["aux_weight_learned"] < 1
    printed = capsys.readouterr().out
    assert f"  aux_weight {row['aux_weight_learned']:.4f}" in printed
    assert "\ncompare trials: " in printed
    assert {path.name for path in Path("runs/mine").iterdir()} == FILES | {".mlflow.lock"}
    (logged,) = all_runs(client)
    assert logged.info.status == "FINISHED"
    assert logged.data.params.items() >= {"mode": "scratch", "aux_weight": "auto"}.items()
    for name in ("test_accuracy", "aux_weight_learned"):
        assert logged.data.metrics[name] == pytest.approx(row[name])
    history = client.get_metric_history(logged.info.run_id, "train_loss")
    assert [m.step for m in history] == [1, 2]
    assert [file.path for file in client.list_artifacts(logged.info.run_id)] == ["curves.png"]


def test_diverging_trial_exits_with_3_and_is_failed(
    run: Run, photo_folder: Path, client: MlflowClient, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--data", photo_folder, *SENT, "--lr", "1e30", "--batch-size", 4) == 3
    assert "failed: train_loss is " in capsys.readouterr().out
    row = trial()
    assert row["status"] == "failed"
    assert "in epoch 1" in row["error"]
    (logged,) = all_runs(client)
    assert logged.info.status == "FAILED"
    assert logged.data.tags["tl_study.error"] == row["error"]
    assert json.loads(Path("runs/mine/best.json").read_text())["trial"] is None
    assert json.loads(Path("runs/mine/study.json").read_text())["status"] == "failed"


@pytest.mark.parametrize(
    ("stop", "code", "ended"),
    [(KeyboardInterrupt(), 130, "interrupted"), (MemoryError("too large"), None, "failed")],
)
def test_stop_midway_leaves_closed_records(
    stop: BaseException, code: int | None, ended: str, run: Run, photo_folder: Path,
    client: MlflowClient, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def break_off(*_: object) -> None:
        raise stop

    monkeypatch.setattr("study.execution.single_trial.print_epoch", break_off)
    words = ("--data", photo_folder, *SENT)
    if code is None:
        with pytest.raises(MemoryError, match="too large"):
            run(*words)
    else:
        assert run(*words) == code
    (record,) = read_records(Path("runs/mine"))
    assert (record.status, len(record.history)) == (ended, 1)
    assert (trial()["status"], trial()["epochs"]) == (ended, 1)
    (logged,) = all_runs(client)
    assert logged.info.status == {"interrupted": "KILLED", "failed": "FAILED"}[ended]


@pytest.mark.parametrize(("error", "code", "told"), [
    (OSError(errno.ENOSPC, "No space left on device", "cache/x"), 4,
     "No space left on device: cache/x; make room and start the trial again"),
    (OSError(errno.ENOSPC, "No space left on device"), 4,
     "No space left on device: runs/mine; make room and start the trial again"),
    (GpuMemoryError("48 GB are needed; --batch-size 8 fits"), 3,
     "failed: 48 GB are needed; --batch-size 8 fits"),
])  # fmt: skip
def test_a_full_disk_and_a_full_gpu_are_told_without_a_traceback(
    error: Exception, code: int, told: str, run_alone: Run, photo_folder: Path, capsys: Capture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("study.execution.single_trial.run_trial", fail)
    assert run_alone("--data", photo_folder, *OWN_NET) == code
    assert told in capsys.readouterr().out.splitlines()
    (record,) = read_records(Path("runs/mine"))
    assert record.status == "failed"
    assert str(error).splitlines()[0] in str(record.error)


def test_a_disk_that_is_too_full_for_the_ledger_is_told(
    run_alone: Run, photo_folder: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "runs/mine/best.json")

    monkeypatch.setattr("study.records.study_files.Results.save", fail)
    assert run_alone("--data", photo_folder, *OWN_NET) == 4
    assert "No space left on device: runs/mine/best.json; make" in capsys.readouterr().out


def test_a_trial_without_its_store_ends_the_sender(
    run: Run, photo_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[str] = []

    class Away(NullSender):
        def wait_for_store(self) -> str:
            raise KeyboardInterrupt

        def close(self, show: Show = show_nothing, within_s: float = math.inf) -> str | None:
            called.append("close")
            return None

    monkeypatch.setattr("study.tracking.sender.make_sender", lambda _: Away(""))
    assert run("--data", photo_folder, *SENT) == 130
    assert called == ["close"]
    assert not Path("runs/mine").exists()


OFFLINE = (*OWN_NET, "--tracking-uri", "http://me:secret@127.0.0.1:9")


@pytest.mark.integration
def test_offline_imports_neither_mlflow_nor_ray(photo_folder: Path) -> None:
    words = [str(w) for w in ("--data", photo_folder, *OFFLINE)]
    code = (
        "import sys, study.run\n"
        f"code = study.run.main({words!r})\n"
        "print(code, {'mlflow', 'ray'} & set(sys.modules))"
    )
    printed = subprocess.check_output([sys.executable, "-c", code], text=True, timeout=120)
    assert printed.splitlines()[-1] == "0 set()"


def test_offline_keeps_the_ledger(photo_folder: Path, run_alone: Run, capfd: Capture) -> None:
    assert run_alone("--data", photo_folder, *OFFLINE) == 0
    printed, told = capfd.readouterr()
    where = (
        "this command sent nothing to MLflow (--offline); python study/sync.py mine sends what it "
        "lacks"
    )
    assert printed.splitlines()[-1] == where
    files = {path.name: path.read_text() for path in Path("runs/mine").glob("*.json*")}
    assert files["ledger.jsonl"].count("\n") == 6  # The study, a trial of two epochs, their ends.
    assert json.loads(files["mlflow.json"])["store"] == "http://127.0.0.1:9"
    assert json.loads(files["study.json"])["settings"]["tracking_uri"] == "http://127.0.0.1:9"
    assert "secret" not in "".join([*files.values(), printed, told])
