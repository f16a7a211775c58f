"""What one check on a GPU has found, its line, and what each part is given."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch

from benchmarks.common import figures
from benchmarks.speed.harness import Direction
from tl_core.data.datasets import ImageSet

Verdict = Literal["ok", "missed", "failed", "skipped"]
Value = TypeVar("Value")


@dataclass(frozen=True)
class Check:
    """One claim about a GPU."""

    what: str
    value: float | None = None
    unit: str = ""
    target: float | None = None
    direction: Direction = "at least"
    fault: str = ""
    """Why it is wrong, not only slow; or why nothing was found."""
    skipped: str = ""
    """Why it can't be made here."""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def verdict(self) -> Verdict:
        """`failed` is a fault; `missed` is right, and slower than its target. NaN misses it."""
        if self.skipped:
            return "skipped"
        if self.fault:
            return "failed"
        if self.target is None or self.value is None:
            return "ok"
        up = self.direction == "at least"
        held = self.value >= self.target if up else self.value <= self.target
        return "ok" if held else "missed"

    def line(self, part: str) -> str:
        """The check in one line, without its details."""
        found = ""
        if self.value is not None:
            found = f": {figures(self.value):,g} {self.unit}".rstrip()
        if self.target is not None:
            found += f" ({self.direction} {self.target:,g})"
        why = self.fault or self.skipped
        return f"{self.verdict:8}{part:13}{self.what}{found}{f': {why}' if why else ''}"


@dataclass(frozen=True)
class GpuBench:
    """What each part is given."""

    device: torch.device
    """Where networks run."""
    tiny: bool
    """Whether sizes are such that a CPU takes seconds: figures then say nothing."""
    scratch: Path
    """A folder that all parts share, which is removed at the end."""

    def pick(self, full: Value, tiny: Value) -> Value:
        """One of two sizes."""
        return tiny if self.tiny else full

    @property
    def side(self) -> int:
        """Of the images, pixels."""
        return self.pick(224, 32)

    @property
    def backbone(self) -> str:
        """The network that learns."""
        return self.pick("resnet18", "shufflenet_v2_x0_5")

    @property
    def batches(self) -> tuple[int, int]:
        """A small batch, which launches bound, and a large one."""
        return self.pick((32, 128), (4, 8))

    @property
    def images(self) -> ImageSet:
        """Images for a training that takes seconds, drawn by the part `images`."""
        return ImageSet.open(self.scratch / "cache" / "images" / "small")

    @property
    def many_images(self) -> ImageSet:
        """As many images as a large data set has."""
        return ImageSet.open(self.scratch / "cache" / "images" / "large")

    @property
    def photos(self) -> Path:
        """A folder of a few image files in folders of classes."""
        return self.scratch / "photos"
