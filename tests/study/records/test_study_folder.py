from pathlib import Path

from study.records.study_folder import find_model, find_study


def test_study_and_model_are_found_by_name_or_folder() -> None:
    Path("runs/mine/winner").mkdir(parents=True)
    for file in ("study.json", "winner/model.json"):
        (Path("runs/mine") / file).touch()
    for study in ("mine", "runs/mine", "./runs/mine/"):
        assert find_study(study, Path("runs")) == Path("runs/mine")
    for model in ("mine", "runs/mine", "runs/mine/winner"):
        assert find_model(model) == Path("runs/mine/winner")
    assert find_model("elsewhere/model.safetensors") == Path("elsewhere/model.safetensors")
