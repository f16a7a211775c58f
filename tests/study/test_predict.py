import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from study.predict import main
from tests.support.models import make_model
from tl_core.inference.serialization import save_model

CARD = "model.json"


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """Folder of a study with a winner, whose brightness head has learned."""
    save_model(tmp_path / "mine" / "winner", make_model())
    return tmp_path / "mine"


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """A folder with three pictures, one of them below another folder."""
    folder = tmp_path / "pictures [1]"
    (folder / "more").mkdir(parents=True)
    for name in ("a.png", "b.jpg", "more/[red]c.png"):
        Image.new("RGB", (30, 20), "red").save(folder / name)
    (folder / "Thumbs.db").touch()
    return folder


@pytest.mark.parametrize("model", ["", "winner", f"winner/{CARD}", "winner/model.safetensors"])
def test_json_has_a_line_for_each_picture(
    study: Path, pictures: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(study / model), str(pictures), str(pictures / "a.png"), "--json"]) == 0
    out, err = capsys.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    names = ["a.png", "b.jpg", "more/[red]c.png", "a.png"]
    assert [line["image"] for line in lines] == [f"{pictures}/{name}" for name in names]
    (told,) = make_model().predict([pictures / "a.png"])
    assert lines[0] | {"image": ""} == {
        "image": "",
        "class": told.class_name,
        "probability": pytest.approx(told.probability),
        "probabilities": dict(
            zip(("cat", "dog"), map(pytest.approx, told.probabilities), strict=True)
        ),
        "brightness": pytest.approx(told.brightness),
    }
    assert err == ""


def test_a_study_may_be_named(
    study: Path, pictures: Path, own_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (own_folder / "runs").mkdir()
    study.rename(own_folder / "runs" / "mine")
    assert main(["mine", str(pictures / "a.png"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["class"] in ("cat", "dog")


def test_the_table_shows_names_as_they_are(
    study: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    long = pictures / ("x" * 200 + ".png")
    shutil.copy(pictures / "a.png", long)
    assert main([str(study), str(pictures)]) == 0
    header, *rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert header == ["image", "class", "probability", "brightness"]
    (told,) = make_model().predict([pictures / "a.png"])
    told_by = [told.class_name, f"{told.probability:.3f}", f"{told.brightness:.3f}"]
    name = str(pictures / "a.png")
    assert rows[0] == [*name.split(), *told_by]
    assert {row[1].rpartition("/")[2] for row in rows} == {
        "a.png",
        "b.jpg",
        long.name,
        "[red]c.png",
    }


def test_bad_pictures_are_told_and_the_others_predicted(
    study: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (pictures / "notes.txt").write_text("no picture")
    (pictures / "empty").mkdir()
    given = [pictures / "gone.png", pictures / "empty", pictures]
    assert main([str(study), *map(str, given), "--json"]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 3
    title, *faults = err.splitlines()
    assert title == "error: some pictures can't be read"
    assert faults[0] == f"  {pictures}/empty: the folder has no files"
    assert faults[1].startswith(f"  {pictures}/gone.png: FileNotFoundError: ")
    assert faults[2].startswith(f"  {pictures}/notes.txt: UnidentifiedImageError: ")
    assert len(faults) == 3


def test_no_picture_at_all_leaves_the_output_empty(
    study: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(study), "gone.png"]) == 2
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_brightness_that_was_never_learned_is_not_told(
    tmp_path: Path, pictures: Path, as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    save_model(tmp_path / "one-task", make_model(learned=("class",)))
    words = [str(tmp_path / "one-task"), str(pictures)] + ["--json"] * as_json
    assert main(words) == 0
    out, err = capsys.readouterr()
    assert err == "note: this model was trained with aux_weight 0, so it predicts no brightness\n"
    if as_json:
        assert [json.loads(line)["brightness"] for line in out.splitlines()] == [None] * 3
    else:
        assert out.split()[:4] == ["image", "class", "probability", f"{pictures}".split()[0]]


def test_no_model_is_one_clear_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine" / "winner").mkdir(parents=True)
    shutil.copy(__file__, tmp_path / "mine" / "winner" / CARD)
    assert main([str(tmp_path / "mine"), "a.png"]) == 2
    title, fault = capsys.readouterr().err.splitlines()
    assert title == "error: there is no model to predict with"
    assert fault.startswith(
        f"  {tmp_path}/mine/winner/model.safetensors does not exist; a model is"
    )


def test_names_that_are_no_text_can_be_shown(
    study: Path, pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = Path(os.fsdecode(b"caf\xe9.png"))
    shutil.copy(pictures / "a.png", pictures / odd)
    assert main([str(study), str(pictures / odd)]) == 0
    assert r"/caf\udce9.png" in capsys.readouterr().out
    assert main([str(study), str(pictures / odd), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["image"] == str(pictures / odd)


def test_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys, study.predict\n"
        "try:\n    study.predict.main(['--help'])\n"
        "finally:\n    print(sorted({'torch', 'mlflow'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"
    assert "0 done, 2 no such model, or unreadable pictures" in done.stdout


def test_a_model_and_a_picture_must_be_given(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["runs/mine"])
    assert "required: IMAGE" in capsys.readouterr().err
