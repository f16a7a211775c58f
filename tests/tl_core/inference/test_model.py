from io import BytesIO
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support.core.hostile_files import RGB, png
from tests.support.core.trials import Trials, with_r2
from tests.support.models import make_model
from tl_core.config import Resize
from tl_core.data.datasets import ImageSet, load_images
from tl_core.data.sources import folder_source
from tl_core.errors import InputError
from tl_core.inference import model as model_module
from tl_core.inference.model import Prediction
from tl_core.inference.winner import trained_model


@pytest.fixture
def odd_folder(photo_folder: Path) -> Path:
    """Photos, and with them one on its side, one without ground and one of 12 bits in 16."""
    rng, exif = np.random.default_rng(3), Image.Exif()
    exif[0x0112] = 6
    colour = Image.fromarray(rng.integers(256, size=(30, 50, 4), dtype=np.uint8))
    colour.convert("RGB").save(photo_folder / "cat" / "on-its-side.jpg", exif=exif)
    colour.save(photo_folder / "cat" / "clear.png")
    deep = rng.integers(4096, size=(40, 20), dtype=np.uint16)
    Image.fromarray(deep).save(photo_folder / "dog" / "deep.tiff")
    return photo_folder


@pytest.mark.parametrize("resize", get_args(Resize))
def test_pictures_give_what_the_decoded_data_set_gives(
    odd_folder: Path, own_cache: Path, resize: Resize
) -> None:
    images = load_images(folder_source(odd_folder), 32, own_cache, resize=resize)
    assert images.scales == {"16-bit grey": (0, 4095)}
    model = make_model("shufflenet_v2_x0_5", 32, resize=resize, scales=images.scales)
    rows = np.arange(len(images.ids))
    logits, brightness = model.outputs(images.pixels, rows)
    message = model.predict(odd_folder / name for name in images.ids)
    assert [p.auxiliary for p in message] == brightness.tolist()
    assert [p.probabilities[1] for p in message] == torch.sigmoid(logits)[:, 0].tolist()
    model.net.train()
    assert torch.equal(model.outputs(images.pixels, rows)[0], logits), "in eval mode whatever it is"
    some, _ = model.outputs(images.pixels, np.array([4, 1]))
    torch.testing.assert_close(some, logits[[4, 1]])


def test_a_picture_may_come_in_any_form(odd_folder: Path) -> None:
    path = odd_folder / "cat" / "on-its-side.jpg"
    with Image.open(path) as opened:
        message = make_model().predict([str(path), path, BytesIO(path.read_bytes()), opened])
    assert (len(message), len(set(message))) == (4, 1)
    assert make_model().predict([]) == []


def test_an_opened_picture_of_which_pillow_drops_bits_is_refused() -> None:
    file = BytesIO(png(1, 1, 16, RGB, b"\0" + bytes(range(6))))
    with Image.open(file) as opened, pytest.raises(InputError) as caught:
        make_model().predict([Image.new("RGB", (8, 8)), opened])
    assert str(caught.value) == "picture 1: pass its path: Pillow keeps 8 of its 16 bits"
    assert len(make_model().predict([file])) == 1


@pytest.mark.parametrize("mode", ["freeze", "finetune"])
def test_a_trained_net_says_what_its_trial_was_scored_on(trials: Trials, mode: str) -> None:
    changes: dict[str, Any] = {"aux_weight": 0.25, "aux_target": "standardized"}
    result = with_r2(trials.run(mode, **changes), 0.1)
    model = trained_model(result, trials.config(mode, **changes), trials.images)
    images, val = trials.images, result.split.val
    message = model.predict(Path(images.name) / images.ids[i] for i in val)
    truth = [p.probabilities[label] for p, label in zip(message, images.labels[val], strict=True)]
    assert -np.log(truth).mean() == pytest.approx(result.history[-1].val_log_loss, rel=1e-4)
    errors = np.abs([p.auxiliary for p in message] - images.brightness[val])
    assert errors.mean() == pytest.approx(result.history[-1].aux["val_brightness_mae"], rel=1e-4)


def test_more_classes_have_a_probability_each() -> None:
    model = make_model(classes=("a", "b", "c"))
    torch.nn.init.zeros_(model.net.heads.classification.weight)
    model.net.heads.classification.bias.data = torch.tensor([0.25, 0.5, 0.25]).log()
    (said,) = model.predict([Image.new("L", (8, 8))])
    assert said.class_name == "b"
    assert said.probability == pytest.approx(0.5)
    assert said.probabilities == pytest.approx((0.25, 0.5, 0.25))


UNTAUGHT = "not trained to predict brightness (aux_weight 0), so it predicts none"
WORSE = (
    "no better than a constant at predicting brightness (R2 on validation <= 0), so it predicts "
    "none"
)


@pytest.mark.parametrize(("learned", "config", "notes"), [
    (("class", "brightness"), {}, []),
    (("class",), {"aux_weight": 0.0}, [UNTAUGHT]),
    (("class",), {"aux_weight": 0.3}, [WORSE]),
    (("class",), {"aux_weight": 0.0, "mode": "probe"}, [WORSE]),
    (("brightness",), {}, ["trained with aux_weight 1: no step taught its classes"]),
])  # fmt: skip
def test_notes_of_a_head_that_never_learned(
    learned: tuple[str, ...], config: dict[str, Any], notes: list[str]
) -> None:
    model = make_model(learned=learned, config=config)
    assert list(model.notes) == notes
    (said,) = model.predict([Image.new("RGB", (20, 30), "red")])
    assert (said.auxiliary is None) == ("brightness" not in learned)
    assert said.class_name == ("cat", "dog")[said.probabilities[1] > 0.5]
    assert said.probability == max(said.probabilities)
    assert sum(said.probabilities) == pytest.approx(1)


def test_brightness_stays_within_its_bounds() -> None:
    model = make_model()
    assert model.net.heads.auxiliary
    torch.nn.init.constant_(model.net.heads.auxiliary.bias, -5.0)
    torch.nn.init.zeros_(model.net.heads.auxiliary.weight)
    (said,) = model.predict([Image.new("RGB", (20, 30), "red")])
    assert said.auxiliary == 0


def test_every_picture_that_cannot_be_read_is_named_and_the_others_predicted(
    photo_folder: Path, images: ImageSet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(model_module, "eval_batch", lambda *_: 2)
    model, notes = make_model(), tmp_path / "notes.txt"
    notes.write_text("not a picture")
    good = [photo_folder / name for name in images.ids[:3]]
    pictures: list[Any] = [BytesIO(b"no"), good[0], notes, tmp_path / "gone.jpg", *good[1:]]
    faults = {
        0: "picture 0: a text file",
        2: f"{notes}: a text file",
        3: f"{tmp_path}/gone.jpg: there is no such file or folder",
    }
    message = dict(enumerate(model.predict_each(pictures)))
    for at, start in faults.items():
        assert str(message.pop(at)).startswith(start)
    brightness = [each.auxiliary for each in model.predict(good)]
    found = [each.auxiliary for each in message.values() if isinstance(each, Prediction)]
    assert found == pytest.approx(brightness, rel=1e-5)
    with pytest.raises(InputError) as caught:
        model.predict(pictures)
    assert [*map(str, caught.value.faults)] == [*faults.values()]


@pytest.mark.parametrize("one", ["photo.jpg", Path("photo.jpg"), Image.new("RGB", (9, 9))])
def test_one_picture_is_no_list(one: Any) -> None:
    why = r"^a list of pictures is expected, also of one: predict\(\[picture\]\)$"
    with pytest.raises(InputError, match=why):
        make_model().predict(one)


@pytest.mark.parametrize("thing", [np.zeros((9, 9, 3), dtype=np.uint8), b"content"])
def test_what_is_no_picture_is_told_with_what_would_be(thing: Any) -> None:
    why = "picture 1: a path, an open file or a picture of Pillow is expected, not "
    with pytest.raises(InputError, match=f"^{why}{type(thing).__name__}$"):
        make_model().predict([Image.new("RGB", (9, 9)), thing])


def test_large_pictures_warn_of_nothing(
    monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    file = BytesIO()
    Image.new("1", (20, 20)).save(file, "PNG")
    assert len(make_model().predict([file])) == 1
    assert not list(recwarn)
