import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import tl_core
from tests.support.models import SIDE, make_model
from tl_core.errors import InputError
from tl_core.files import replace_file
from tl_core.inference.model import Model
from tl_core.inference.model_card import CARD, WEIGHTS
from tl_core.inference.serialization import load_model, save_model

FAMILIES = [
    ("shared_mlp", SIDE),
    ("shufflenet_v2_x0_5", 32),
    ("timm:test_vit", 160),
]
# Swin's networks have buffers that no state dict holds.
SLOW_FAMILIES = [
    pytest.param(name, side, marks=pytest.mark.integration)
    for name, side in [
        *(("mlp", SIDE), ("squeezenet1_1", 32), ("efficientnet_lite0", 32)),
        *(("timm:test_resnet", 32), ("swin_t", 32), ("timm:swin_tiny_patch4_window7_224", 224)),
    ]
]


def outputs(model: Model) -> list[torch.Tensor]:
    """What a model says of four pictures of noise."""
    side = model.about.image_size
    pixels = np.random.default_rng(0).integers(256, size=(4, 3, side, side), dtype=np.uint8)
    return list(model.outputs(pixels, np.arange(4)))


def assert_same(one: Model, other: Model) -> None:
    assert all(map(torch.equal, outputs(one), outputs(other)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A saved model."""
    save_model(tmp_path / "saved", make_model())
    return tmp_path / "saved"


@pytest.mark.parametrize(("backbone", "side"), [*FAMILIES, *SLOW_FAMILIES])
def test_every_family_comes_back_as_it_was(tmp_path: Path, backbone: str, side: int) -> None:
    model = make_model(backbone, side, classes=("a", "b", "c"))
    save_model(tmp_path, model)
    before = torch.random.get_rng_state()
    loaded = load_model(tmp_path)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert not loaded.net.training
    assert_same(loaded, model)


@pytest.mark.parametrize("pretrained", [True, False])
def test_networks_that_convert_their_inputs_still_do(tmp_path: Path, pretrained: bool) -> None:
    model = make_model("googlenet", 32, pretrained=pretrained)
    assert vars(model.net.network)["transform_input"] == pretrained
    save_model(tmp_path, model)
    assert_same(load_model(tmp_path), model)


def test_shared_weights_are_saved(tmp_path: Path) -> None:
    model = make_model()
    model.net.heads.brightness.weight = model.net.heads.classification.weight
    save_model(tmp_path, model)
    assert_same(load_model(tmp_path), model)


@pytest.mark.parametrize("name", ["", CARD, WEIGHTS])
def test_a_model_is_found_by_its_folder_or_a_file(folder: Path, name: str) -> None:
    assert_same(tl_core.load_model(str(folder / name)), make_model())


def test_files_may_be_renamed_together(folder: Path) -> None:
    for file in (CARD, WEIGHTS):
        (folder / file).rename(folder / f"pets.v2{Path(file).suffix}")
    assert_same(load_model(folder / "pets.v2.json"), make_model())


def test_a_loaded_model_saves_to_the_same_files(folder: Path, tmp_path: Path) -> None:
    save_model(tmp_path / "again", load_model(folder))
    for name in (CARD, WEIGHTS):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_the_card_says_what_it_takes_to_use_the_weights(folder: Path) -> None:
    card = json.loads((folder / CARD).read_text())
    assert next(iter(card)) == "format"
    assert card["format"] == 1
    assert card["classes"] == ["cat", "dog"]
    assert (card["image_size"], card["mean"], card["std"]) == (
        SIDE,
        [0.5, 0.4, 0.3],
        [0.5, 0.25, 0.125],
    )
    assert card["versions"].keys() == {"torch", "torchvision", "timm"}


def test_class_names_need_not_be_text(tmp_path: Path) -> None:
    classes = ("caf\udce9", "ü / 犬")
    save_model(tmp_path, make_model(classes=classes))
    assert load_model(tmp_path).about.classes == classes


def edit(**changes: Any) -> Callable[[Path], object]:
    """Changes some of what the card says."""

    def spoil(folder: Path) -> None:
        card = json.loads((folder / CARD).read_text())
        (folder / CARD).write_text(json.dumps(card | changes))

    return spoil


def flip_a_bit(folder: Path) -> None:
    content = bytearray((folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (folder / WEIGHTS).write_bytes(content)


OTHER = r"it was saved with torch [\d.]+\S*, torchvision .*, timm .*; installed are torch "


@pytest.mark.parametrize(
    ("spoil", "pattern"),
    [
        (
            lambda f: (f / CARD).unlink(),
            r"saved/model.json does not exist; a model is a folder with",
        ),
        (lambda f: (f / WEIGHTS).unlink(), r"saved/model.safetensors does not exist; a model is"),
        (flip_a_bit, r"model.safetensors is not the file it should be: .*; copy the model again"),
        (edit(format=2), r"model.json has format 2; this tl-study reads format 1"),
        (
            lambda f: (f / CARD).write_text("{}"),
            r"is not the card of a model \(KeyError: 'format'\)",
        ),
        (lambda f: (f / CARD).write_text("[1"), r"is not the card of a model \(JSONDecodeError"),
        (edit(classes=["cat"], extra=1), r"model.json: classes: .*at least 2(.|\n)*extra: Extra"),
        (edit(resize="cropped"), r"model.json: resize: Input should be .to a square, aspect"),
        (edit(backbone="resnet19"), rf"unknown backbone 'resnet19'; {OTHER}"),
        (edit(backbone="mlp"), rf"does not fit mlp as built here \(.*Missing key.*\); {OTHER}"),
        (edit(classes=["a", "b", "c"]), r"does not fit shared_mlp .*size mismatch"),
    ],
)
def test_what_is_not_a_whole_model_is_refused(
    folder: Path, spoil: Callable[[Path], object], pattern: str
) -> None:
    spoil(folder)
    with pytest.raises(InputError, match=pattern):
        load_model(folder)


@pytest.mark.parametrize("name", ["nowhere", "weights.pth"])
def test_another_kind_of_path_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=rf"model .*/{name} is not a folder, a .json or a .safe"):
        load_model(tmp_path / name)


def test_a_kill_between_the_files_leaves_nothing_that_is_mixed(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(path: Path, content: bytes) -> None:
        if path.name == CARD:
            raise KeyboardInterrupt
        replace_file(path, content)

    monkeypatch.setattr("tl_core.inference.serialization.replace_file", killed)
    with pytest.raises(KeyboardInterrupt):
        save_model(folder, make_model(classes=("x", "y", "z")))
    with pytest.raises(InputError, match="is not the file it should be"):
        load_model(folder)
