"""Class names that break what quotes, parses or shows them, from the folder to each output."""

import io
import json
import os
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mlflow import MlflowClient
from PIL import Image

from study.analysis.images.predictions import read_predictions
from study.analysis.study_data import read_study_data
from study.predict import main as predict
from study.reporting.build import write_report
from tests.conftest import QUICK
from tests.support.models import SIDE, make_model
from tests.support.report_page import Page
from tests.support.studies.builders import all_runs
from tests.support.studies.synthetic import tiny_study
from tests.support.study_fixtures import Capture, Patch, Run
from tl_core.data.datasets import load_images
from tl_core.data.sources import folder_source
from tl_core.inference.model_card import CARD
from tl_core.inference.serialization import load_model, save_model
from tl_core.inference.winner import write_predictions
from tl_core.text import natural_key, printable

NAMES = sorted((
    "two words", "grå kött", "猫", "\u0642\u0637\u0629", "\U0001f408", "l'été", '"best"', "a=b",
    "[red]x[", "50%", "-r", "1,2", "<script>alert(1)", "$x^2$", "{x}", "Cat", "cat", "NA", "1",
    "=1+1", "new\nline", "car\rriage", "tab\there", "\x1b[31mred", "\\back", "a\u2215b",
    "\u202etxt", os.fsdecode(b"caf\xe9"), "&amp;", "é" * 120,
))  # fmt: skip


def plant(root: Path, names: list[str], each: int = 4) -> Path:
    rng = np.random.default_rng(0)
    for name in names:
        (root / name).mkdir(parents=True)
        for i in range(each):
            pixels = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / name / f"{i}.png")
    return root


@pytest.fixture
def named(tmp_path: Path) -> Path:
    """A folder of classes with these names; its own name is not UTF-8."""
    return plant(tmp_path / os.fsdecode(b"ph\xf8tos"), NAMES)


def test_trial_writes_them(run: Run, named: Path, client: MlflowClient, monkeypatch: Patch) -> None:
    (named / "cat" / "\x1b[31m.png").write_bytes(b"no picture")
    terminal = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(terminal, "utf-8", errors="strict"))
    words = ("--train-ratio", 0.4, "--name", "[red]:dog:", "--skip-bad-images")
    assert run("--data", named, *QUICK, *words) == 0
    sys.stdout.flush()
    assert rb"ph\udcf8tos" in terminal.getvalue()
    assert b"files: runs/[red]:dog:/" in terminal.getvalue()

    data = json.loads(Path("runs/[red]:dog:/study.json").read_text())["data"]
    assert data["classes"] == dict.fromkeys(NAMES, 4)
    assert data["skipped"][0].startswith("cat/\x1b[31m.png: a text file")
    assert pd.read_csv("runs/[red]:dog:/trials.csv").iloc[0]["status"] == "done"
    (logged,) = all_runs(client)
    assert logged.info.status == "FINISHED"
    assert logged.data.params["data"] == printable(str(named))


def test_errors_send_no_commands_to_the_terminal(run: Run, named: Path, capsys: Capture) -> None:
    (named / "cat" / os.fsdecode(b"\x1b[31m\xff.png")).write_bytes(b"no picture")
    assert run("--data", named, "--backbone", "mlp", "--mode", "scratch") == 2
    message = capsys.readouterr().err
    assert r"cat/\x1b[31m\udcff.png: a text file" in message
    assert "\x1b" not in message


def test_winner_predictions_and_page(
    named: Path, own_cache: Path, own_folder: Path, without_png: None
) -> None:
    folder = tiny_study("odd").write(own_folder / "runs" / "odd")
    about = json.loads((folder / "study.json").read_text())
    about["data"]["classes"] = dict.fromkeys(NAMES, 4)
    (folder / "study.json").write_text(json.dumps(about))
    config = json.loads((folder / "winner" / CARD).read_text())["config"]
    model = make_model(classes=tuple(NAMES), config=config)
    save_model(folder / "winner", model)
    assert load_model(folder / "winner").about.classes == tuple(NAMES)

    images = load_images(folder_source(named), SIDE, own_cache)
    rows = np.arange(len(images.ids))
    write_predictions(folder / "winner", model, images, rows, "test")
    found = read_predictions(folder / "winner", NAMES)
    assert found.labels.tolist() == images.labels.tolist()
    assert found.images == tuple(map(printable, images.ids))
    assert found.classes == tuple(map(printable, NAMES))

    page = Page(write_report(read_study_data(folder)))
    assert len(page.attributes("script")) == 1, "the page's own"
    assert "<script>alert(1)" in page.text
    assert r"caf\udce9" in page.text


@pytest.mark.parametrize("as_json", [True, False])
def test_predict_prints_them(named: Path, as_json: bool, capsys: Capture) -> None:
    save_model(Path("winner"), make_model(classes=tuple(NAMES)))
    assert predict(["winner", str(named), *["--json"] * as_json]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 4 * len(NAMES) + (not as_json), "a line a picture, and the table's head"
    if not as_json:
        assert "\x1b" not in "".join(lines)
        return
    found = [json.loads(line) for line in lines]
    assert {Path(line["image"]).parent.name for line in found} == set(NAMES)
    assert list(found[0]["probabilities"]) == sorted(NAMES, key=natural_key)


@pytest.mark.integration
def test_a_thousand_classes_of_three(run: Run, tmp_path: Path) -> None:
    folder = plant(tmp_path / "many", [f"class {k:04d}" for k in range(1000)], each=3)
    words = ("--train-ratio", 0.4, "--name", "mine", "--offline")
    assert run("--data", folder, *QUICK, *words) == 0
    data = json.loads(Path("runs/mine/study.json").read_text())["data"]
    assert (data["images"], len(data["classes"])) == (3000, 1000)
    trial = pd.read_csv("runs/mine/trials.csv").iloc[0]
    assert 0 <= trial["test_accuracy"] < 0.1


def test_one_image_a_class_is_refused(run: Run, tmp_path: Path, capsys: Capture) -> None:
    folder = plant(tmp_path / "single", [f"class {k:03d}" for k in range(100)], each=1)
    assert run("--data", folder, *QUICK, "--train-ratio", 0.4) == 2
    title, first, *_, last = capsys.readouterr().err.splitlines()[-22:]
    assert title == "error: the study can't start"
    assert "class 'class 000' has 1 image; train_ratio 0.4 needs 2 more" in first
    assert last == "  --train-ratio 0.4: and 80 more"
