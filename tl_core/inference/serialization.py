"""A model as two files: its weights, `model.safetensors`, and its card, `model.json`."""

import hashlib
import json
import textwrap
from pathlib import Path

import safetensors.torch
import torch

from tl_core.errors import InputError
from tl_core.files import replace_file, user_path
from tl_core.inference.model import Model
from tl_core.inference.model_card import (
    CARD,
    FORMAT,
    WEIGHTS,
    ModelCard,
    ModelInfo,
    find_model,
    read_card,
)
from tl_core.models.backbones import BackboneError, empty_network, library_versions
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.weights import Entries, read_entries, verify_file


def save_model(folder: Path, model: Model) -> None:
    """Write both files into `folder`, which is made if it isn't there.

    Each replaces its predecessor whole, the card last: a kill in between leaves a pair that
    `load_model` refuses, never one that is mixed without a word.
    """
    # Clones, because safetensors takes neither shared storage nor channels_last.
    entries = {
        name: value.detach().cpu().clone(memory_format=torch.contiguous_format)
        for name, value in model.net.state_dict().items()
    }
    weights = safetensors.torch.save(entries)
    card = ModelCard(
        **model.about.model_dump(include=set(ModelInfo.model_fields)),
        sha256=hashlib.sha256(weights).hexdigest(),
        versions=library_versions(),
    )
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / WEIGHTS, weights)
    text = json.dumps({"format": FORMAT} | card.model_dump(), indent=2)
    replace_file(folder / CARD, f"{text}\n".encode())


def load_model(path: str | Path, device: torch.device | str = "cpu") -> Model:
    """Read a model that `save_model` wrote; needs no network and no pretrained weights.

    Args:
        path: the folder, or either of the two files.
        device: where it is to compute.

    Raises:
        InputError: a file is missing, damaged or not what the card says; the card is of another
            format; or the libraries installed don't know the backbone or build it otherwise.
    """
    card_path, weights_path = find_model(user_path(str(path)))
    card = read_card(card_path)
    verify_file(weights_path, card.sha256, "copy the model again from where it was saved")
    net = _build(card, card_path)
    _fill(net, card, read_entries(weights_path), weights_path)
    net.to(device).to(memory_format=torch.channels_last).eval()
    return Model(net, card)


def _build(card: ModelCard, path: Path) -> TwoHeadedNet:
    try:
        network = empty_network(card.backbone, card.image_size, pretrained=card.pretrained)
    except BackboneError as error:
        raise InputError(
            [f"{path}: backbone {card.backbone!r} is not known here; {_tell_versions(card)}"]
        ) from error
    with torch.random.fork_rng(devices=[]):
        heads = Heads(card.n_features, len(card.classes))
    return TwoHeadedNet(network, heads, card.precision)


def _fill(net: TwoHeadedNet, card: ModelCard, entries: Entries, path: Path) -> None:
    try:
        net.load_state_dict(entries, strict=True)
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300)
        why = f"{path} does not fit {card.backbone} as built here ({reason})"
        raise InputError([f"{why}; {_tell_versions(card)}"]) from error


def _tell_versions(card: ModelCard) -> str:
    then, now = (
        ", ".join(f"{name} {number}" for name, number in versions.items())
        for versions in (card.versions, library_versions())
    )
    return f"it was saved with {then}; installed are {now}"
