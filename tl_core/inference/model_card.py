"""What a trained net is and expects, and the small JSON file that holds it."""

import json
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
)

from tl_core.aux_task import BRIGHTNESS, AuxTask
from tl_core.config import PAD_GREY, SOLVED, Count, ImageSize, Precision, Resize
from tl_core.data.reading.deep import Depth, Levels
from tl_core.errors import InputError

CARD, WEIGHTS = "model.json", "model.safetensors"
"""The two files of a model."""
FORMAT: Final = 1
"""Increase it when new code would misread an old file."""

Triple = tuple[float, float, float]
CLASS = "class"
"""The name of the first head; the second one's is that of its task, which can't be this."""

RESIZE_SENTENCES: dict[Resize, str] = {
    "squash": "to a square, aspect ratio not kept, Pillow's bilinear",
    "crop": "shorter side to the image size, central square, Pillow's bilinear",
    "pad": f"longer side to the image size, centred on grey {PAD_GREY}, Pillow's bilinear",
}
"""What a card says of each way to make a square, so that other programs can do the same."""


def _resize_name(value: Any) -> Resize:
    for name, sentence in RESIZE_SENTENCES.items():
        if value in (name, sentence):
            return name
    raise ValueError(f"must be one of {list(RESIZE_SENTENCES.values())}, not {value!r}")


class ModelInfo(BaseModel):
    """What a trained net is and what it expects."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    backbone: str
    """A name that `tl_core.models.backbones.load_backbone` knows."""
    pretrained: bool
    """Whether it began as pretrained weights; see `tl_core.models.backbones.empty_network`."""
    n_features: Count
    """D, the length of a feature vector."""
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    """In the order of the labels, K."""
    image_size: ImageSize
    """Side of the square images, pixels."""
    # What `open_picture` and `as_rgb` do, so that other programs can do the same; no other value.
    decode: Literal["first frame, upright by EXIF, on white, RGB"] = (
        "first frame, upright by EXIF, on white, RGB"
    )
    resize: Annotated[
        Resize, BeforeValidator(_resize_name), PlainSerializer(RESIZE_SENTENCES.__getitem__)
    ] = "squash"
    """How a picture becomes a square (`tl_core.data.decode.to_square`); a sentence in the file."""
    scales: dict[Depth, Levels] = Field(default_factory=dict)
    """Of pictures with more than 8 bits: the values that become black and white, as in training. A
    kind that is not here has `tl_core.data.reading.deep.default_levels`; so have all kinds of a
    model whose card has no scales, as in the studies that saved such models."""
    mean: Triple
    """Subtracted from images in 0..1, one value for each channel."""
    std: Triple
    """Divides the difference, one value for each channel."""
    precision: Precision
    """What the network computes in."""
    aux: AuxTask = BRIGHTNESS
    """The task of the second head."""
    learned: tuple[str, ...]
    """The heads that have learned, `class` and the auxiliary task's name; any other head's output
    is noise. An auxiliary task has learned if its skill on validation is above 0
    (`AuxTask.scores`)."""
    config: dict[str, Any]
    """The trial's configuration. Predictions depend on its mode alone: see `Model.outputs`."""


def is_taught(config: dict[str, Any]) -> bool:
    """Whether a trial of this configuration teaches its auxiliary head.

    At weight 0 no step does, but the heads of some modes are solved before the first step.
    """
    return config.get("aux_weight") != 0 or config.get("mode") in SOLVED


class ModelCard(ModelInfo):
    """The content of `model.json`: the model's description, and the hash of its weights."""

    format: Literal[1] = FORMAT
    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
    """Of the .safetensors file."""
    versions: dict[str, str]
    """Of the libraries that the net was built with."""


def find_model(path: Path) -> tuple[Path, Path]:
    """Find the card and the weights of a model; `path` is its folder or one of the two files.

    Raises `InputError` unless both files exist.
    """
    try:
        base = path / CARD if path.is_dir() else path
        files = base.with_suffix(".json"), base.with_suffix(".safetensors")
        missing = [file for file in files if not file.is_file()]
    except OSError as error:  # Of another user, or a name that is too long.
        raise InputError([f"model {path}: {error.strerror}"]) from error
    if base.suffix not in (".json", ".safetensors"):
        raise InputError([f"model {path} is not a folder, a .json or a .safetensors file"])
    if missing:
        raise InputError(
            f"{file} does not exist; a model is a folder with {CARD} and {WEIGHTS}"
            for file in missing
        )
    return files


def read_card(path: Path) -> ModelCard:
    """Read a `model.json`; raises `InputError` unless this version understands it."""
    try:
        values = json.loads(path.read_bytes())
        found = values["format"]
    except (OSError, ValueError, TypeError, KeyError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise InputError([f"{path} is not the card of a model ({reason})"]) from error
    if found != FORMAT:
        raise InputError([f"{path} has format {found}; this tl-study reads format {FORMAT}"])
    try:
        return ModelCard.model_validate(values)
    except ValidationError as error:
        raise InputError(
            f"{path}: {'.'.join(map(str, fault['loc']))}: {fault['msg']}"
            for fault in error.errors()
        ) from error
