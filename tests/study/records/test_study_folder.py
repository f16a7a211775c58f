from pathlib import Path

import pytest

from study.records.study_folder import find_model, find_study


@pytest.mark.parametrize("study", ["tiny", "runs/tiny", "./runs/tiny/"])
def test_study_is_found_by_name_or_folder(own_folder: Path, study: str) -> None:
    Path("runs/tiny").mkdir(parents=True)
    Path("runs/tiny/study.json").touch()
    assert find_study(study, Path("runs")) == Path("runs/tiny")


def test_unknown_study_lists_the_known_ones(own_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no study tyni in runs/; there is none; --out"):
        find_study("tyni", Path("runs"))


@pytest.mark.parametrize("model", ["mine", "runs/mine", "runs/mine/winner"])
def test_model_is_found_by_study_or_folder(own_folder: Path, model: str) -> None:
    Path("runs/mine/winner").mkdir(parents=True)
    Path("runs/mine/winner/model.json").touch()
    assert find_model(model) == Path("runs/mine/winner")
    assert find_model("elsewhere/model.safetensors") == Path("elsewhere/model.safetensors")
