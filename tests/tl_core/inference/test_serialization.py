import json
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

import tl_core
from tests.support.models import SIDE, make_model
from tl_core.config import Resize
from tl_core.errors import InputError
from tl_core.files import replace_file
from tl_core.inference import serialization
from tl_core.inference.model import Model
from tl_core.inference.model_card import CARD, RESIZE_SENTENCES, WEIGHTS
from tl_core.inference.serialization import load_model, save_model

OLD_SENTENCE = "to a square, aspect ratio not kept, Pillow's bilinear"
FAMILIES = [("shared_mlp", SIDE), ("shufflenet_v2_x0_5", 32), ("timm:test_vit", 160)]
# Swin's networks have buffers that no state dict holds.
SLOW_FAMILIES = [
    pytest.param(name, side, marks=pytest.mark.integration)
    for name, side in [
        *(("mlp", SIDE), ("squeezenet1_1", 32), ("efficientnet_lite0", 32)),
        *(("timm:test_resnet", 32), ("swin_t", 32), ("timm:swin_tiny_patch4_window7_224", 224)),
    ]
]


def assert_same(one: Model, other: Model) -> None:
    """Both say the same of four pictures of noise."""
    side, rows = one.about.image_size, np.arange(4)
    pixels = np.random.default_rng(0).integers(256, size=(4, 3, side, side), dtype=np.uint8)
    assert all(map(torch.equal, one.outputs(pixels, rows), other.outputs(pixels, rows)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    save_model(tmp_path / "saved", make_model())
    return tmp_path / "saved"


@pytest.mark.parametrize("pretrained", [True, False])
@pytest.mark.parametrize(("backbone", "side"), [*FAMILIES, ("googlenet", 32), *SLOW_FAMILIES])
def test_families_come_back(tmp_path: Path, backbone: str, side: int, pretrained: bool) -> None:
    # Googlenet converts the inputs of pretrained weights. Class names need not be text.
    classes = ("a", "caf\udce9", "ü / 犬")
    model = make_model(backbone, side, classes=classes, pretrained=pretrained)
    assert vars(model.net.network).get("transform_input", pretrained) == pretrained
    save_model(tmp_path, model)
    before = torch.random.get_rng_state()
    loaded = load_model(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not loaded.net.training
    assert loaded.about.classes == classes
    assert_same(loaded, model)
    save_model(tmp_path / "again", loaded)
    for name in (CARD, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (tmp_path / name).read_bytes()


def test_shared_weights_are_saved(tmp_path: Path) -> None:
    model = make_model()
    assert model.net.heads.auxiliary
    model.net.heads.auxiliary.weight = model.net.heads.classification.weight
    save_model(tmp_path, model)
    assert_same(load_model(tmp_path), model)


def test_a_model_is_found_by_its_folder_or_a_file(folder: Path) -> None:
    for name in ("", CARD, WEIGHTS):
        assert_same(tl_core.load_model(str(folder / name)), make_model())
    for file in (CARD, WEIGHTS):
        (folder / file).rename(folder / f"pets.v2{Path(file).suffix}")
    assert_same(load_model(folder / "pets.v2.json"), make_model())
    for name in ("nowhere", "weights.pth"):
        message = rf"model .*/{name} is not a folder, a .json or a .safe"
        with pytest.raises(InputError, match=message):
            load_model(folder / name)


def test_the_card_says_what_it_takes_to_use_the_weights(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    assert next(iter(card)) == "format"
    expected = {"format": 1, "classes": ["cat", "dog"], "image_size": SIDE}
    expected |= {"mean": [0.5, 0.4, 0.3], "std": [0.5, 0.25, 0.125]}
    assert card | expected == card
    assert card["versions"].keys() == {"torch", "torchvision", "timm"}


@pytest.mark.parametrize("resize", get_args(Resize))
def test_the_card_tells_in_words_how_pictures_become_squares(
    tmp_path: Path, resize: Resize
) -> None:
    save_model(tmp_path, make_model(resize=resize))
    assert json.loads((tmp_path / CARD).read_text())["resize"] == RESIZE_SENTENCES[resize]
    assert load_model(tmp_path).about.resize == resize


@pytest.mark.parametrize("old", [{"resize": OLD_SENTENCE}, {}])
def test_a_card_of_an_earlier_version_means_squash(folder: Path, old: dict[str, str]) -> None:
    card = json.loads((folder / CARD).read_text())
    del card["resize"]
    (folder / CARD).write_text(json.dumps(card | old))
    assert load_model(folder).about.resize == "squash"


OTHER = r"it was saved with torch [\d.]+\S*, torchvision .*, timm .*; installed are torch "


@pytest.mark.parametrize(("changes", "pattern"), [
    ({"format": 2}, r"model.json has format 2; this tl-study reads format 1"),
    ({"classes": ["cat"], "extra": 1}, r"model.json: classes: .*at least 2(.|\n)*extra: Extra"),
    ({"resize": "cropped"}, r"resize: .*must be one of \[.to a square, .*, not 'cropped'"),
    ({"backbone": "resnet19"}, rf"unknown backbone 'resnet19'; {OTHER}"),
    ({"backbone": "mlp"}, rf"does not fit mlp as built here \(.*Missing key.*\); {OTHER}"),
    ({"classes": ["a", "b", "c"]}, r"does not fit shared_mlp .*size mismatch"),
])  # fmt: skip
def test_cards_that_do_not_fit(folder: Path, changes: dict[str, Any], pattern: str) -> None:
    card = json.loads((folder / CARD).read_text())
    (folder / CARD).write_text(json.dumps(card | changes))
    with pytest.raises(InputError, match=pattern):
        load_model(folder)


@pytest.mark.parametrize(("best", "used"), [("fp32", "fp32"), ("bf16", "bf16")])
def test_a_number_format_that_the_hardware_lacks_is_not_emulated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, best: str, used: str
) -> None:
    monkeypatch.setattr(serialization, "best_precision", lambda device: best)
    save_model(tmp_path, make_model(precision="bf16"))
    model = load_model(tmp_path)
    assert (model.net.precision, model.about.precision) == (used, "bf16")


def test_what_is_not_a_whole_model_is_refused(folder: Path) -> None:
    card, weights = folder / CARD, folder / WEIGHTS
    about, content = card.read_text(), weights.read_bytes()

    def assert_refused(pattern: str) -> None:
        with pytest.raises(InputError, match=pattern):
            load_model(folder)

    card.write_text("{}")
    assert_refused(r"is not the card of a model \(KeyError: 'format'\)")
    card.write_text("[1")
    assert_refused(r"is not the card of a model \(JSONDecodeError")
    card.unlink()
    assert_refused(r"saved/model.json does not exist; a model is a folder with")
    card.write_text(about)
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert_refused(r"model.safetensors is not the file it should be: .*; copy the model again")
    weights.unlink()
    assert_refused(r"saved/model.safetensors does not exist; a model is a folder with")


def test_a_kill_between_files_mixes_none(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(path: Path, content: bytes) -> None:
        if path.name == CARD:
            raise KeyboardInterrupt
        replace_file(path, content)

    monkeypatch.setattr("tl_core.inference.serialization.replace_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_model(folder, make_model(classes=("x", "y", "z")))
    with pytest.raises(InputError, match="is not the file it should be"):
        load_model(folder)
