from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.core.trials import Trials
from tests.support.models import SIDE, make_model
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.errors import InputError
from tl_core.inference import model as model_module
from tl_core.inference.model import Model, Prediction
from tl_core.inference.winner import trained_model


@pytest.fixture
def odd_folder(photo_folder: Path) -> Path:
    """Photos, and with them one on its side, one without ground and one in 16-bit grey."""
    rng = np.random.default_rng(3)
    colour = Image.fromarray(rng.integers(256, size=(30, 50, 4), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    colour.convert("RGB").save(photo_folder / "cat" / "on-its-side.jpg", exif=exif)
    colour.save(photo_folder / "cat" / "clear.png")
    deep = rng.integers(65536, size=(40, 20), dtype=np.uint16)
    Image.fromarray(deep).save(photo_folder / "dog" / "deep.tiff")
    return photo_folder


def test_pictures_give_what_the_decoded_data_set_gives(odd_folder: Path, own_cache: Path) -> None:
    model = make_model("shufflenet_v2_x0_5", 32)
    images = load_images(folder_source(odd_folder), 32, own_cache)
    logits, brightness = model.outputs(images.pixels, np.arange(len(images.ids)))
    message = model.predict(odd_folder / name for name in images.ids)
    assert [p.brightness for p in message] == brightness.tolist()
    assert [p.probabilities[1] for p in message] == torch.sigmoid(logits)[:, 0].tolist()


@pytest.mark.parametrize("mode", ["freeze", "finetune"])
def test_a_trained_net_says_what_its_trial_was_scored_on(trials: Trials, mode: str) -> None:
    result = trials.run(mode, aux_weight=0.25)
    model = trained_model(result, trials.config(mode, aux_weight=0.25), trials.images)
    images, val = trials.images, result.split.val
    message = model.predict(Path(images.name) / images.ids[i] for i in val)
    truth = [p.probabilities[label] for p, label in zip(message, images.labels[val], strict=True)]
    assert -np.log(truth).mean() == pytest.approx(result.history[-1].val_log_loss, rel=1e-4)
    errors = np.abs([p.brightness for p in message] - images.brightness[val])
    assert errors.mean() == pytest.approx(result.history[-1].val_brightness_mae, rel=1e-4)


def test_a_picture_may_come_in_any_form(odd_folder: Path) -> None:
    path = odd_folder / "cat" / "on-its-side.jpg"
    content = path.read_bytes()
    with Image.open(path) as opened:
        message = make_model().predict([str(path), path, BytesIO(content), opened])
    assert len(message) == 4
    assert len(set(message)) == 1


def test_two_classes_share_one_logit() -> None:
    (said,) = make_model().predict([Image.new("RGB", (20, 30), "red")])
    assert said.class_name == ("cat", "dog")[said.probabilities[1] > 0.5]
    assert said.probability == max(said.probabilities)
    assert sum(said.probabilities) == pytest.approx(1)


def test_more_classes_have_a_probability_each() -> None:
    model = make_model(classes=("a", "b", "c"))
    torch.nn.init.zeros_(model.net.heads.classification.weight)
    model.net.heads.classification.bias.data = torch.tensor([0.25, 0.5, 0.25]).log()
    (said,) = model.predict([Image.new("L", (8, 8))])
    assert said.class_name == "b"
    assert said.probability == pytest.approx(0.5)
    assert said.probabilities == pytest.approx((0.25, 0.5, 0.25))


@pytest.mark.parametrize(
    ("learned", "notes"),
    [
        (("class", "brightness"), []),
        (("class",), ["trained with aux_weight 0, so it predicts no brightness"]),
        (("brightness",), ["trained with aux_weight 1, so its classes are guesses"]),
    ],
)
def test_a_head_that_never_learned_is_told_of(learned: tuple[str, ...], notes: list[str]) -> None:
    model = make_model(learned=learned)
    assert list(model.notes) == notes
    (said,) = model.predict([Image.new("RGB", (20, 30), "red")])
    assert (said.brightness is None) == ("brightness" not in learned)


def test_every_picture_that_cannot_be_read_is_named(photo_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("not a picture")
    pictures = [tmp_path / "gone.jpg", photo_folder / "cat" / "00.png", tmp_path / "notes.txt"]
    with pytest.raises(InputError) as caught:
        make_model().predict([*pictures, BytesIO(b"no")])
    gone, notes, unnamed = map(str, caught.value.faults)
    assert gone.startswith(f"{tmp_path}/gone.jpg: FileNotFoundError: ")
    assert notes.startswith(f"{tmp_path}/notes.txt: UnidentifiedImageError: ")
    assert unnamed.startswith("picture 3: UnidentifiedImageError: ")


def test_the_others_are_predicted_in_order(
    photo_folder: Path, images: ImageSet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "eval_batch", lambda *_: 2)
    model = make_model()
    paths = [photo_folder / name for name in images.ids[:3]]
    bad = BytesIO(b"no")
    message = list(model.predict_each([bad, paths[0], bad, bad, paths[1], paths[2]]))
    faults = [str(each).partition(":")[0] for each in message if isinstance(each, InputError)]
    assert faults == ["picture 0", "picture 2", "picture 3"]
    assert [each.brightness for each in message if isinstance(each, Prediction)] == pytest.approx(
        [each.brightness for each in model.predict(paths)], rel=1e-5
    )
    assert [isinstance(each, Prediction) for each in message] == [
        False,
        True,
        False,
        False,
        True,
        True,
    ]


def test_no_picture_is_no_prediction() -> None:
    assert make_model().predict([]) == []


def test_large_pictures_are_read_without_a_warning(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    file = BytesIO()
    Image.new("1", (20, 20)).save(file, "PNG")
    assert len(make_model().predict([file])) == 1
    assert not list(recwarn)


def test_the_net_is_scored_in_eval_mode() -> None:
    model = make_model("shufflenet_v2_x0_5", 32)
    pixels = np.random.default_rng(0).integers(256, size=(6, 3, 32, 32), dtype=np.uint8)
    before, _ = model.outputs(pixels, np.arange(6))
    model.net.train()
    after, _ = model.outputs(pixels, np.arange(6))
    assert torch.equal(before, after)


def test_rows_choose_the_pictures() -> None:
    model: Model = make_model()
    pixels = np.random.default_rng(0).integers(256, size=(5, 3, SIDE, SIDE), dtype=np.uint8)
    whole, _ = model.outputs(pixels, np.arange(5))
    some, _ = model.outputs(pixels, np.array([4, 1]))
    torch.testing.assert_close(some, whole[[4, 1]])
