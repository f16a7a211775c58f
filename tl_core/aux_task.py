"""What the second head learns: the auxiliary task. Plain values; imports no torch."""

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from tl_core.text import printable

AuxKind = Literal["regression", "classification", "none"]
AuxOn = Literal["all", "labelled"]
"""What teaches it: all images of the training part, or those whose class label the ratio leaves."""

TAKEN = re.compile(
    "path|label|split|class|image|predicted|mistake|probability|labels|logits|groups|balanced|"
    r"probabilities|p_\d+"
)
"""Names that outputs of a study have already."""
_MAX_KEY = 200
"""Characters of a key."""
NAME, NO_NAME = "brightness", "none"
"""What names the task that needs no labels of the user's, and its absence."""


def _weight_or_word(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    # pydantic reports one fault for each member of a union; this is one for all.
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("must be a number from 0 to 1, or auto") from None


AuxWeight = Annotated[
    Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] | Literal["auto"],
    WrapValidator(_weight_or_word),
]
"""The share of the task in the loss, or `auto`, which learns it."""


@dataclass(frozen=True)
class AuxTask:
    """A number to predict for each image (regression), a class (classification), or nothing."""

    name: str
    """That of the column with its labels; `brightness` or `none`."""
    kind: AuxKind
    classes: tuple[str, ...] = ()
    """Of a classification, in the order of its labels."""

    @property
    def of_pixels(self) -> bool:
        """Whether the target follows from the pixels, so that an augmented image has another."""
        return self.name == NAME

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Least and largest value of the target, if they are known."""
        return (0.0, 1.0) if self.of_pixels else None

    @property
    def n_outputs(self) -> int:
        """A: of the head; two classes need one logit."""
        if self.kind == "classification":
            return 1 if len(self.classes) == 2 else len(self.classes)
        return int(self.kind == "regression")

    @property
    def key(self) -> str:
        """The name in those of metrics and columns, where MLflow takes few characters.

        MLflow takes 250 of them in the name of a metric, which has more than the key.
        """
        key = re.sub(r"[^A-Za-z0-9_.-]+", "_", self.name)
        if not re.search("[A-Za-z0-9]", key):
            return "aux"
        if len(key) > _MAX_KEY:  # Two columns may begin alike.
            digest = sha256(self.name.encode(errors="surrogatepass")).hexdigest()[:8]
            return f"{key[: _MAX_KEY - 9]}_{digest}"
        return f"aux_{key}" if TAKEN.fullmatch(key) else key

    @property
    def shown(self) -> str:
        """The name for people, safe on a terminal."""
        return printable(self.name)

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of its scores, without `val_` or `test_`: the error in its own unit, then skill.

        Skill is 1 minus the error as a share of a constant's, so 0 or less is not learned: R2, by
        squares, against the mean; of classes, by wrong answers, against the most frequent class.
        """
        names = {"regression": ("mae", "r2"), "classification": ("accuracy", "skill"), "none": ()}
        return tuple(f"{self.key}_{name}" for name in names[self.kind])


BRIGHTNESS = AuxTask(NAME, "regression")
"""Mean over an image's pixels and channels, 0 to 1, before normalisation."""
NO_TASK = AuxTask(NO_NAME, "none")
BUILT_IN_TASKS = {NAME: BRIGHTNESS, NO_NAME: NO_TASK}


def named_task(name: str, kind: AuxKind | None) -> AuxTask:
    """Return the task of a name, without the names of its classes.

    `kind` is that of a column; it is not known before the column is read, and then a number stands
    for it.
    """
    return BUILT_IN_TASKS.get(name) or AuxTask(name, kind or "regression")
