"""A model as two files: its weights, `model.safetensors`, and its card, `model.json`."""

import hashlib
import json
import textwrap
from pathlib import Path

import safetensors.torch
import torch

from tl_core.config import Precision
from tl_core.device import CPU, best_precision, is_gpu
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
from tl_core.models.backbones import empty_network, library_versions
from tl_core.models.entries import read_entries
from tl_core.models.heads import Heads, TwoHeadedNet
from tl_core.models.precision import emulates
from tl_core.models.weights import BackboneError, verify_file


def save_model(folder: str | Path, model: Model) -> None:
    """Write both files into `folder`, which is made if it does not exist.

    Each file replaces its predecessor whole, the card last. A kill between the two leaves a mixed
    pair, which `load_model` refuses because of the hash.
    """
    folder = user_path(folder)
    # Clones, because safetensors accepts neither shared storage nor channels_last.
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
    """Read a model that `save_model` wrote; needs no internet and no pretrained weights.

    Args:
        path: the folder, or either of the two files.
        device: where it computes. In float32 if it would emulate the precision of the training,
            which takes several times as long: outputs then differ by the rounding of bf16 or fp16.

    Raises:
        InputError: a file is missing, damaged or does not match the card; the card has another
            format; or the installed libraries don't know the backbone or build it differently.
    """
    card_path, weights_path = find_model(user_path(path))
    card = read_card(card_path)
    verify_file(weights_path, card.sha256, "copy the model again from where it was saved")
    try:
        network = empty_network(card.backbone, card.image_size, pretrained=card.pretrained)
    except BackboneError as error:
        problem = f"{card_path}: unknown backbone {card.backbone!r}"
        raise InputError([f"{problem}; {_compare_versions(card)}"]) from error
    with torch.random.fork_rng(devices=[]):
        heads = Heads(card.n_features, len(card.classes), card.aux)
    net = TwoHeadedNet(network, heads, _precision(card.precision, torch.device(device)))
    try:
        net.load_state_dict(read_entries(weights_path), strict=True)
    except RuntimeError as error:
        reason = textwrap.shorten(str(error), 300)
        problem = f"{weights_path} does not fit {card.backbone} as built here ({reason})"
        raise InputError([f"{problem}; {_compare_versions(card)}"]) from error
    net.to(device).to(memory_format=torch.channels_last).eval()
    return Model(net, card)


def _precision(asked: Precision, device: torch.device) -> Precision:
    if asked == "fp32" or not (device == CPU or is_gpu(device)):
        return asked
    slow = emulates(asked, best_precision(device), is_gpu(device))
    return "fp32" if slow else asked


def _compare_versions(card: ModelCard) -> str:
    then, now = (
        ", ".join(f"{name} {number}" for name, number in versions.items())
        for versions in (card.versions, library_versions())
    )
    return f"it was saved with {then}; installed are {now}"
