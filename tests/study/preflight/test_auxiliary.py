"""An auxiliary task of the user's: from the table to the workers, and what is refused."""

import json
import re
from pathlib import Path

import pytest

from study.preflight.prepare import prepare_new
from study.preflight.resume import check_same_data
from study.records.ledger import StudyState
from study.records.outputs import read_targets
from study.records.study_files import Results
from study.search.space import Space
from study.trials.trial_context import make_context
from tests.support.studies.asking import ask, faults_of
from tl_core.aux_task import AuxTask
from tl_core.errors import InputError


def table(photos: Path, ages: list[str]) -> Path:
    """A manifest of 40 photos with ages."""
    names = sorted(str(path.relative_to(photos.parent)) for path in photos.glob("*/*"))
    rows = [f"{name},{Path(name).parent.name},{age}" for name, age in zip(names, ages, strict=True)]
    file = photos.parent / "photos.csv"
    file.write_text("\n".join(["path,label,age", *rows]))
    return file


AGES = [str(i) if i % 4 else "" for i in range(40)]


def test_a_column_reaches_trials_workers_and_files(photo_folder: Path) -> None:
    prepared = ask(table(photo_folder, AGES), aux="age")
    settings, images = prepared.settings, prepared.images
    assert settings.task == images.aux.task == AuxTask("age", "regression")
    assert settings.aux_type == "regression", "so that a resumed study does not decide again"
    config = Space(settings).config({"mode": "scratch", "train_ratio": 0.2, "lr_scratch": 1e-3})
    assert (config.aux, config.aux_on) == ("age", "all")
    found = make_context(prepared).attach()
    assert found.aux.digest == images.aux.digest
    study = Results(prepared.folder, settings, images).study
    about = study["data"]["aux"]
    assert about == {
        "name": "age", "kind": "regression", "classes": [], "images": 30,
        "digest": images.aux.digest,
    }  # fmt: skip
    json.dumps(study, default=str)
    split = images.split(0.2)
    targets = read_targets(prepared.folder, study["targets"], settings.task)
    assert targets
    known = images.aux.known
    known[[*split.val, *split.test]] = False
    assert targets["test"].constant == pytest.approx(images.aux.values[known].mean())
    assert any(note.startswith("auxiliary task age: a number") for note in prepared.notes)


def test_other_labels_of_the_task_are_another_study(photo_folder: Path) -> None:
    prepared = ask(table(photo_folder, AGES), aux="age")
    study = Results(prepared.folder, prepared.settings, prepared.images).study
    state = StudyState(about=study)
    check_same_data(state, prepared.images)
    changed = ask(table(photo_folder, ["7", *AGES[1:]]), aux="age", name="other")
    why = (
        "the column of the auxiliary task, age, has changed since this study began, or is read "
        "otherwise now; start it anew"
    )
    with pytest.raises(InputError, match=re.escape(why)):
        check_same_data(state, changed.images)


def test_a_column_of_text_is_learned_on_no_scale(photo_folder: Path) -> None:
    why = "--aux-target raw: is read only if --aux names a number"
    text = table(photo_folder, ["red", "blue"] * 20)
    for given in ({}, {"aux_type": "classification"}):
        assert faults_of(text, aux="age", aux_target="raw", **given) == (why,)
    assert ask(text, aux="age").settings.aux_type == "classification"
    # Presets have it, as the article had; that is not the user's mistake.
    preset = prepare_new({"preset": "multitask", "data": str(text), "aux": "age"})
    assert preset.settings.aux_type == "classification"
    numbers = ask(table(photo_folder, AGES), aux="age", aux_target="raw")
    assert numbers.settings.aux_target == "raw"


def test_what_can_not_be_learned_is_said_before_decoding(
    photo_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ["5", "6", *[""] * 38]
    (fault,) = faults_of(table(photo_folder, few), aux="age", aux_type="regression")
    assert re.fullmatch(
        "--aux age: the (validation|test|training) images need 2 different values or more, and "
        r"those that have one are [01] of \d+", fault
    )  # fmt: skip
    (fault,) = faults_of(table(photo_folder, AGES), aux="weight")
    assert fault == "--aux weight: no such column; valid are brightness, none, age"
    assert "Decoding" not in capsys.readouterr().err
