from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from tests.support.core.trials import Trials, with_r2
from tests.support.disks import files_of_at_most
from tests.support.models import make_model
from tl_core.data.datasets import ImageSet
from tl_core.inference import serialization
from tl_core.inference.model import Model
from tl_core.inference.model_card import WEIGHTS
from tl_core.inference.serialization import load_model, save_model
from tl_core.inference.winner import save_winner, trained_model, write_predictions
from tl_core.objectives.outputs import Outputs


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
    return pd.read_csv(
        folder / "predictions.csv",
        dtype=dict.fromkeys(("image", "label", "predicted", "split", "mistake"), object),
        keep_default_na=False,
        na_values={"predicted_brightness": [""]},
        encoding_errors="surrogateescape",
    )


def predict_all(folder: Path, model: Model, images: ImageSet) -> pd.DataFrame:
    write_predictions(folder, model, images, np.arange(len(images.ids)), "val")
    return read_predictions(folder)


@pytest.mark.parametrize(("mode", "seeds"), [("finetune", 1), ("freeze", 2)])
def test_winner_and_its_predictions(trials: Trials, tmp_path: Path, mode: str, seeds: int) -> None:
    changes: dict[str, Any] = {"aux_weight": 0.5, "seeds": seeds, "epochs": 1}
    changes |= {"aux_target": "standardized"}
    result = with_r2(trials.run(mode, read_test=True, **changes), 0.1)
    save_winner(tmp_path / "winner", result, trials.config(mode, **changes), trials.images)
    model, table = load_model(tmp_path / "winner"), read_predictions(tmp_path / "winner")
    assert model.about.classes == trials.images.classes
    assert model.about.resize == trials.images.resize == "squash"
    assert model.about.config == trials.config(mode, **changes).model_dump()
    images, test = trials.images, result.split.test
    assert table["image"].tolist() == [images.ids[i] for i in test]
    assert table["label"].tolist() == [images.classes[k] for k in images.labels[test]]
    assert set(table["split"]) == {"test"}
    logits, brightness = model.outputs(images.pixels, test)
    np.testing.assert_allclose(table["p_1"], torch.sigmoid(logits)[:, 0], rtol=1e-5)
    np.testing.assert_allclose(table["predicted_brightness"], brightness, rtol=1e-5)
    np.testing.assert_allclose(table["brightness"], images.brightness[test], rtol=1e-6)
    # Of several seeds the first is kept.
    alone = trials.run(mode, read_test=True, **changes | {"seeds": 1})
    right = (table["label"] == table["predicted"]).mean()
    assert right == alone.test["test_accuracy"]


@pytest.mark.parametrize(("mode", "changes"), [
    ("freeze", {"lr": 0.1, "epochs": 20}), ("probe", {}),
    ("partial", {"unfreeze": 1}), ("finetune", {}),
])  # fmt: skip
def test_the_served_net_says_what_the_tested_one_said_also_in_bfloat16(
    trials: Trials, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    mode: str, changes: dict[str, Any],
) -> None:  # fmt: skip
    monkeypatch.setattr(serialization, "best_precision", lambda device: "bf16")
    changes = {"precision": "bf16", **changes}
    result = trials.run(mode, read_test=True, **changes)
    save_winner(tmp_path, result, trials.config(mode, **changes), trials.images)
    rows, table = result.split.test, read_predictions(tmp_path)
    # Batches of other sizes may change last bits. An unfolded network changes it by 6e-3.
    tested = torch.sigmoid(result.outputs["test"].logits.flatten())
    np.testing.assert_allclose(table["p_1"], tested, rtol=0, atol=1e-3)
    model = load_model(tmp_path)
    for served in (model, trained_model(result, trials.config(mode, **changes), trials.images)):
        logits, _ = served.outputs(trials.images.pixels, rows)
        np.testing.assert_allclose(torch.sigmoid(logits[:, 0]), tested, rtol=0, atol=1e-3)
    save_model(tmp_path / "again", model)
    assert (tmp_path / "again" / WEIGHTS).read_bytes() == (tmp_path / WEIGHTS).read_bytes()


@pytest.mark.parametrize(("mode", "changes", "r2", "pretrained", "learned"), [
    ("finetune", {"aux_weight": 0.0}, 0.1, True, ("class",)),
    ("scratch", {"aux_weight": 0.5}, 0.1, False, ("class", "brightness")),
    ("scratch", {"aux_weight": 0.5}, 0.0, False, ("class",)),
    ("probe", {}, 0.1, True, ("class", "brightness")),
    ("finetune", {"aux_weight": 1.0, "weights": "none"}, 0.1, False, ("brightness",)),
])  # fmt: skip
def test_the_card_tells_what_the_trial_was(
    trials: Trials, tmp_path: Path, mode: str, changes: dict[str, Any], r2: float,
    pretrained: bool, learned: tuple[str, ...],
) -> None:  # fmt: skip
    result, config = trials.run(mode, epochs=1, **changes), trials.config(mode, epochs=1, **changes)
    save_winner(tmp_path, with_r2(result, r2), config, trials.images)
    about, table = load_model(tmp_path).about, read_predictions(tmp_path)
    assert about.pretrained is pretrained
    assert about.learned == learned
    assert table["predicted_brightness"].isna().all() == ("brightness" not in learned)
    assert set(table["split"]) == {"val"}, "the test set was not read, so it must stay unread"


def test_known_outputs_are_cut_to_the_bounds_like_those_of_the_model(
    opinionated: Model, images: ImageSet, tmp_path: Path
) -> None:
    head = opinionated.net.heads.auxiliary
    assert head is not None
    torch.nn.init.constant_(head.weight, 0.0)
    for bias, cut in ((1.4, 1.0), (-0.4, 0.0), (0.4, 0.4)):
        torch.nn.init.constant_(head.bias, bias)
        rows = np.arange(4)
        known = Outputs(torch.zeros(4, 1), torch.full((4,), bias))
        for predicted in (None, known):
            write_predictions(tmp_path, opinionated, images, rows, "val", predicted)
            found = read_predictions(tmp_path)["predicted_brightness"]
            assert found.tolist() == pytest.approx([cut] * 4)


def test_the_most_confident_errors_with_pictures(
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
    dogs = np.flatnonzero(images.labels == 1)
    write_predictions(tmp_path, opinionated, images, dogs, "val")
    assert list((tmp_path / "mistakes").iterdir()) == [], "earlier ones are removed"
    assert read_predictions(tmp_path)["mistake"].tolist() == [""] * 20


def test_a_disk_that_is_full_leaves_the_earlier_winner(trials: Trials, tmp_path: Path) -> None:
    def files() -> dict[Path, bytes]:
        return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    folder, config = tmp_path / "winner", trials.config("freeze")
    save_winner(folder, trials.run("freeze"), config, trials.images)
    before = files()
    with files_of_at_most(10_000), pytest.raises(OSError, match="File too large") as caught:
        save_winner(folder, trials.run("freeze", lr=0.1), config, trials.images)
    assert caught.value.filename == str(folder / "model.safetensors")
    assert files() == before


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
    "classes",
    [("NA", ""), ("1", "01"), ('a,"b', "x\ny"), ("caf\udce9", "犬"), ("cat", "dog", "owl")],
)
def test_class_names_are_free(
    three_class_images: ImageSet, tmp_path: Path, classes: tuple[str, ...]
) -> None:
    images = replace(three_class_images, labels=three_class_images.labels % len(classes))
    table = predict_all(tmp_path, make_model("shared_mlp", 32, classes=classes), images)
    assert table["label"].tolist() == [classes[k] for k in images.labels]
    each = table[[f"p_{k}" for k in range(len(classes))]].to_numpy()
    np.testing.assert_allclose(each.sum(axis=1), 1)
    assert table["predicted"].tolist() == [classes[k] for k in each.argmax(axis=1)]


@pytest.mark.parametrize("read_test", [False, True])
def test_a_frozen_winner_predicts_from_its_features(
    trials: Trials, tmp_path: Path, read_test: bool
) -> None:
    result = trials.run("freeze", read_test=read_test, seeds=2)

    def refuse(*_: object) -> None:
        raise AssertionError("the network runs")

    hook = result.net.network.register_forward_pre_hook(refuse)
    try:
        save_winner(tmp_path, result, trials.config("freeze", seeds=2), trials.images)
    finally:
        hook.remove()
    logits, _ = load_model(tmp_path).outputs(
        trials.images.pixels, result.split.test if read_test else result.split.val
    )
    expected = torch.sigmoid(logits)[:, 0]
    np.testing.assert_allclose(read_predictions(tmp_path)["p_1"], expected, rtol=1e-5)
