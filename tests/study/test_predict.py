import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from study.predict import main
from tests.support.models import make_model
from tests.support.study_fixtures import Capture, Patch
from tl_core.inference.model import Prediction
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.inference.serialization import save_model


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Folder of a study with a winner, whose brightness head has learned."""
    save_model(tmp_path / "mine" / "winner", make_model())
    return tmp_path / "mine"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures, one of them in a subfolder, and a file of Windows."""
    folder = tmp_path / "pictures [1]"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "more/[red]c.png"):
        Image.new("RGB", (30, 20), "red").save(folder / name)
    (folder / "Thumbs.db").touch()
    return folder


@pytest.mark.parametrize("model", ["", "winner", f"winner/{CARD}", f"winner/{WEIGHTS}"])
def test_json_has_a_line_for_each(study: Path, pictures: Path, model: str, capsys: Capture) -> None:
    assert main([str(study / model), str(pictures), str(pictures / "a.png"), "--json"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    names = ["a.png", "b.jpg", "more/[red]c.png"]  # A file that is given twice has one.
    assert [line.pop("image") for line in lines] == [f"{pictures}/{name}" for name in names]
    (expected,) = make_model().predict([pictures / "a.png"])
    cat, dog = map(pytest.approx, expected.probabilities)
    assert lines[0] == {
        "class": expected.class_name,
        "probability": pytest.approx(expected.probability),
        "probabilities": {"cat": cat, "dog": dog},
        "brightness": pytest.approx(expected.auxiliary),
    }
    assert err == ""


def test_a_gpu_that_fails_is_told_and_the_cpu_predicts(
    study: Path, pictures: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    found = torch.device("cpu"), "the CPU is used, as the GPU can't work: CUDA"
    monkeypatch.setattr("tl_core.inference.sound_device.sound_device", lambda: found)
    assert main([str(study), str(pictures)]) == 0
    assert capsys.readouterr().err == "note: the CPU is used, as the GPU can't work: CUDA\n"


def test_table_shows_names_unchanged(study: Path, pictures: Path, capsys: Capture) -> None:
    odd = pictures / os.fsdecode(b"caf\xe9" + b"x" * 200 + b".png")
    shutil.copy(pictures / "a.png", odd)
    assert main([str(study), str(pictures)]) == 0
    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["image", "class", "probability", "brightness"]
    (p,) = make_model().predict([pictures / "a.png"])
    name = str(pictures / "a.png").split()
    assert rows[0] == [*name, p.class_name, f"{p.probability:.3f}", f"{p.auxiliary:.3f}"]
    names = {row[1].rpartition("/")[2] for row in rows}
    assert names == {"a.png", "b.jpg", rf"caf\udce9{'x' * 200}.png", "[red]c.png"}
    assert main([str(study), str(odd), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == str(odd)


def test_it_ends_when_nobody_reads(
    study: Path, pictures: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    model, seen = make_model(), list[int]()

    def predict(paths: list[Path]) -> Iterator[Prediction]:
        for i, prediction in enumerate(model.predict(paths)):
            seen.append(i)
            yield prediction

    fake = SimpleNamespace(notes=(), about=model.about, predict_each=predict)
    monkeypatch.setattr("tl_core.inference.serialization.load_model", lambda *_: fake)
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w", encoding="utf-8") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", pipe)
        monkeypatch.setattr(sys, "__stdout__", pipe)
        assert main([str(study), str(pictures), "--json"]) == 0
    assert seen == [0]
    assert capsys.readouterr().err == ""


def test_an_interrupt_leaves_the_table_so_far(
    study: Path, pictures: Path, monkeypatch: Patch, capsys: Capture
) -> None:
    model, told = make_model(), list[str]()

    def predict(paths: list[Path]) -> Iterator[Prediction]:
        yield from model.predict(paths[:2])
        raise KeyboardInterrupt

    fake = SimpleNamespace(notes=(), about=model.about, predict_each=predict)
    monkeypatch.setattr("tl_core.inference.serialization.load_model", lambda *_: fake)
    monkeypatch.setattr("rich.status.Status.update", lambda _, text: told.append(text))
    assert main([str(study), str(pictures)]) == 130
    out, err = capsys.readouterr()
    assert [line.rpartition("/")[2].split()[0] for line in out.splitlines()[1:]] == [
        "a.png", "b.jpg",
    ]  # fmt: skip
    assert err == "interrupted\n"
    assert told == ["predicting: 1 of 3 pictures", "predicting: 2 of 3 pictures"]


def test_bad_pictures_are_listed(study: Path, pictures: Path, capsys: Capture) -> None:
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "empty").mkdir()
    given = [pictures / "gone.png", pictures / "empty", pictures]
    assert main([str(study), *map(str, given), "--json"]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    title, empty, gone, notes = err.splitlines()
    assert title == "error: some pictures can't be read"
    assert empty == f"  {pictures}/empty: the folder has no pictures"
    assert gone == f"  {pictures}/gone.png: there is no such file or folder"
    assert notes.startswith(f"  {pictures}/notes.txt: a text file")
    assert main([str(study), "gone.png"]) == 2
    assert capsys.readouterr().out == "", "no table without a picture"


def test_a_table_beside_the_pictures_is_passed_over(
    study: Path, pictures: Path, capsys: Capture
) -> None:
    for name in ("t.csv", "more/t.Parquet"):
        (pictures / name).write_text("path,label")
    assert main([str(study), str(pictures), "--json"]) == 0
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    assert err == "note: passed over: more/t.Parquet, t.csv (a table)\n"
    assert main([str(study), str(pictures / "t.csv")]) == 2
    assert "t.csv: a text file" in capsys.readouterr().err


def test_paths_that_can_not_be_looked_at(study: Path, pictures: Path, capsys: Capture) -> None:
    long = "x" * 300
    assert main([str(study), long, str(pictures)]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 4
    assert err.splitlines()[1:] == [f"  {long}: can't be read: File name too long"]
    assert main([long, str(pictures)]) == 2
    assert capsys.readouterr().err.splitlines()[1:] == [f"  model {long}: File name too long"]


def test_unlearned_brightness_is_not_shown(tmp_path: Path, pictures: Path, capsys: Capture) -> None:
    save_model(tmp_path / "one-task", make_model(learned=("class",)))
    assert main([str(tmp_path / "one-task"), str(pictures)]) == 0
    out, err = capsys.readouterr()
    assert out.split()[:4] == ["image", "class", "probability", f"{pictures}".split()[0]]
    assert err.startswith("note: this model was no better than a constant at predicting bright")
    assert main([str(tmp_path / "one-task"), str(pictures), "--json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["brightness"] for line in lines] == [None] * 3


def test_missing_model_is_one_clear_error(tmp_path: Path, capsys: Capture) -> None:
    winner = tmp_path / "mine" / "winner"
    winner.mkdir(parents=True)
    shutil.copy(__file__, winner / CARD)
    assert main([str(tmp_path / "mine"), "a.png"]) == 2
    title, fault = capsys.readouterr().err.splitlines()
    assert title == "error: there is no model to predict with"
    assert fault.startswith(f"  {winner}/{WEIGHTS} does not exist; a model is")


def test_help_does_not_import_torch() -> None:
    code = (
        "import sys, study.predict\n"
        "try:\n    study.predict.main(['--help'])\n"
        "finally:\n    print(sorted({'torch', 'mlflow'} & set(sys.modules)))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert "0 done, 2 no such model, or unreadable pictures" in done.stdout
    assert "brightness) if the winner learned it." in done.stdout
