"""What must be known of a trained net to use it, and the small JSON file that says so."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tl_core.config import Count, ImageSize, Precision
from tl_core.errors import InputError

CARD, WEIGHTS = "model.json", "model.safetensors"
"""The two files of a model."""
FORMAT: Final = 1
"""Raise it when a file of today would be misread by the code of tomorrow."""

Triple = tuple[float, float, float]
Head = Literal["class", "brightness"]
HEADS: tuple[Head, ...] = get_args(Head)


class ModelInfo(BaseModel):
    """What a trained net is and what it expects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    """A name that `tl_core.models.backbones.load_backbone` knows."""
    pretrained: bool
    """Whether it began as pretrained weights; see `tl_core.models.backbones.empty_network`."""
    n_features: Count
    """D, the length of what the backbone gives to the heads."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """In the order of the labels, K."""
    image_size: ImageSize
    """Side of the square images, pixels."""
    # What `tl_core.data.decode` does, so that others can do the same; nothing else is accepted.
    decode: Literal["first frame, upright by EXIF, on white, RGB"] = (
        "first frame, upright by EXIF, on white, RGB"
    )
    resize: Literal["to a square, aspect ratio not kept, Pillow's bilinear"] = (
        "to a square, aspect ratio not kept, Pillow's bilinear"
    )
    mean: Triple
    """Subtracted from images in 0..1, a channel each."""
    std: Triple
    """Divides what is left, a channel each."""
    precision: Precision
    """What the network computes in."""
    learned: tuple[Head, ...]
    """The heads that the loss reached; what another one says is noise."""
    config: dict[str, Any]
    """The trial's configuration, for the reader: nothing is computed from it."""


class ModelCard(ModelInfo):
    """What `model.json` holds: the above, and what ties it to the weights beside it."""

    format: Literal[1] = FORMAT
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the .safetensors file."""
    versions: dict[str, str]
    """Of the libraries that the net was built with."""


def find_model(path: Path) -> tuple[Path, Path]:
    """Find the card and the weights of the model in a folder, or of which `path` is one file.

    Raises `InputError` unless both are there.
    """
    base = path / CARD if path.is_dir() else path
    if base.suffix not in (".json", ".safetensors"):
        raise InputError([f"model {path} is no folder, and no .json or .safetensors file"])
    files = base.with_suffix(".json"), base.with_suffix(".safetensors")
    missing = [file for file in files if not file.is_file()]
    if missing:
        raise InputError(
            f"{file} does not exist; a model is a folder with {CARD} and {WEIGHTS}"
            for file in missing
        )
    return files


def read_card(path: Path) -> ModelCard:
    """Read a `model.json`; raises `InputError` unless it is one that this version understands."""
    try:
        values = json.loads(path.read_bytes())
        found = values["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError([f"{path} is not the card of a model ({reason})"]) from error
    if found != FORMAT:
        raise InputError([f"{path} is of format {found}; this tl-study reads format {FORMAT}"])
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise InputError(
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors()
        ) from error
