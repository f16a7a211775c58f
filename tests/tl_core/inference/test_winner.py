from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.support.core.trials import Trials
from tests.support.disks import files_of_at_most
from tests.support.models import make_model
from tl_core.data.datasets import ImageSet
from tl_core.inference.model import Model
from tl_core.inference.serialization import load_model
from tl_core.inference.winner import save_winner, write_predictions


@pytest.fixture
def opinionated() -> Model:
    """Says dog of all pictures, the surer the brighter they are; of 32 px."""
    model = make_model("shared_mlp", 32)
    dog = model.net.heads.classification
    for name, value in {"1.weight": 1e-4, "3.weight": 1e-3}.items():
        torch.nn.init.constant_(model.net.network.get_parameter(name), value)
    torch.nn.init.constant_(dog.weight, 1e-2)
    torch.nn.init.constant_(dog.bias, 0.1)
    return model


def read_predictions(folder: Path) -> pd.DataFrame:
    words = dict.fromkeys(("image", "label", "predicted", "split", "mistake"), object)
    return pd.read_csv(
        folder / "predictions.csv",
        dtype=words,
        keep_default_na=False,
        na_values={"predicted_brightness": [""]},
        encoding_errors="surrogateescape",
    )


def predict_all(folder: Path, model: Model, images: ImageSet) -> pd.DataFrame:
    write_predictions(folder, model, images, np.arange(len(images.ids)), "val")
    return read_predictions(folder)


@pytest.mark.parametrize(("mode", "seeds"), [("finetune", 1), ("freeze", 2)])
def test_a_winner_is_its_model_and_its_predictions(
    trials: Trials, tmp_path: Path, mode: str, seeds: int
) -> None:
    changes: dict[str, Any] = {"aux_weight": 0.5, "seeds": seeds, "epochs": 1}
    result = trials.run(mode, read_test=True, **changes)
    save_winner(tmp_path / "winner", result, trials.config(mode, **changes), trials.images)
    model, table = load_model(tmp_path / "winner"), read_predictions(tmp_path / "winner")
    assert model.about.classes == trials.images.classes
    assert model.about.config == trials.config(mode, **changes).model_dump()
    images, test = trials.images, result.split.test
    assert table["image"].tolist() == [images.ids[i] for i in test]
    assert table["label"].tolist() == [images.classes[k] for k in images.labels[test]]
    assert set(table["split"]) == {"test"}
    logits, brightness = model.outputs(images.pixels, test)
    np.testing.assert_allclose(table["p_1"], torch.sigmoid(logits)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(table["predicted_brightness"], brightness, rtol=1e-5)
    np.testing.assert_allclose(table["brightness"], images.brightness[test], rtol=1e-6)
    if seeds == 1:
        assert (table["label"] == table["predicted"]).mean() == result.test["test_accuracy"]


def test_of_several_seeds_the_first_is_kept(trials: Trials, tmp_path: Path) -> None:
    for seeds in (1, 3):
        result = trials.run("freeze", seeds=seeds)
        config = trials.config("freeze", seeds=seeds)
        save_winner(tmp_path / f"{seeds}", result, config, trials.images)
    one, three = (read_predictions(tmp_path / name) for name in ("1", "3"))
    np.testing.assert_allclose(one["p_0"], three["p_0"], rtol=1e-5)
    assert set(one["split"]) == {"val"}, "the test set was not read, so it must stay unread"


@pytest.mark.parametrize(
    ("mode", "weights", "aux_weight", "pretrained", "learned"),
    [
        ("finetune", "", 0.0, True, ("class",)),
        ("scratch", "", 0.5, False, ("class", "brightness")),
        ("finetune", "none", 1.0, False, ("brightness",)),
    ],
)
def test_the_card_tells_what_the_trial_was(
    trials: Trials,
    tmp_path: Path,
    mode: str,
    weights: str,
    aux_weight: float,
    pretrained: bool,
    learned: tuple[str, ...],
) -> None:
    changes: dict[str, Any] = {
        "aux_weight": aux_weight,
        "epochs": 1,
        "weights": weights or trials.weights,
    }
    save_winner(
        tmp_path, trials.run(mode, **changes), trials.config(mode, **changes), trials.images
    )
    about = load_model(tmp_path).about
    assert about.pretrained is pretrained
    assert about.learned == learned
    blank = read_predictions(tmp_path)["predicted_brightness"].isna()
    assert blank.all() == ("brightness" not in learned)


def test_the_surest_mistakes_come_first_with_their_pictures(
    opinionated: Model, images: ImageSet, tmp_path: Path
) -> None:
    table = predict_all(tmp_path, opinionated, images)
    assert set(table["predicted"]) == {"dog"}
    cats = table[table["label"] == "cat"].sort_values("p_1", ascending=False, kind="stable")
    expected = [f"mistakes/{i:02d}.jpg" for i in range(1, 13)] + [""] * 8
    assert cats["mistake"].tolist() == expected
    assert set(table[table["label"] == "dog"]["mistake"]) == {""}
    assert len(list((tmp_path / "mistakes").iterdir())) == 12
    with Image.open(tmp_path / "mistakes" / "01.jpg") as picture:
        shown = np.asarray(picture, dtype=float)
    pixels = images.pixels[cats.index[0]].transpose(1, 2, 0)
    assert shown.shape == (32, 32, 3)
    assert np.abs(shown - pixels).mean() < 6


def test_earlier_mistakes_are_removed(opinionated: Model, images: ImageSet, tmp_path: Path) -> None:
    predict_all(tmp_path, opinionated, images)
    dogs = np.flatnonzero(images.labels == 1)
    write_predictions(tmp_path, opinionated, images, dogs, "val")
    assert list((tmp_path / "mistakes").iterdir()) == []
    assert read_predictions(tmp_path)["mistake"].tolist() == [""] * 20


def test_a_disk_that_is_full_leaves_the_earlier_winner(trials: Trials, tmp_path: Path) -> None:
    folder, config = tmp_path / "winner", trials.config("freeze")
    save_winner(folder, trials.run("freeze"), config, trials.images)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large") as caught:
        save_winner(folder, trials.run("freeze", lr=0.1), config, trials.images)
    assert caught.value.filename == str(folder / "model.safetensors")
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(("size", "name"), [(0, "01.jpg"), (2000, "predictions.csv")])
def test_predictions_that_do_not_fit_leave_no_half(
    opinionated: Model, images: ImageSet, tmp_path: Path, size: int, name: str
) -> None:
    folder = tmp_path / "winner"
    with files_of_at_most(size), pytest.raises(OSError, match="File too large") as caught:
        predict_all(folder, opinionated, images)
    assert Path(caught.value.filename).name == name
    left = {path.name for path in folder.rglob("*") if path.is_file()}
    assert left == ({f"{i:02d}.jpg" for i in range(1, 13)} if size else set())


@pytest.mark.parametrize(
    "classes", [("NA", ""), ("1", "01"), ('a,"b', "x\ny"), ("caf\udce9", "犬")]
)
def test_classes_may_be_called_anything(
    opinionated: Model, images: ImageSet, tmp_path: Path, classes: tuple[str, str]
) -> None:
    about = opinionated.about.model_copy(update={"classes": classes})
    table = predict_all(tmp_path, Model(opinionated.net, about), images)
    assert table["label"].tolist() == [classes[k] for k in images.labels]
    assert set(table["predicted"]) == {classes[1]}


def test_three_classes_have_three_columns(three_class_images: ImageSet, tmp_path: Path) -> None:
    model = make_model("shared_mlp", 32, classes=three_class_images.classes)
    table = predict_all(tmp_path, model, three_class_images)
    each = table[["p_0", "p_1", "p_2"]].to_numpy()
    np.testing.assert_allclose(each.sum(axis=1), 1)
    assert table["predicted"].tolist() == [model.about.classes[k] for k in each.argmax(axis=1)]
