"""Values of one flag each, with the rule that they must keep."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from study.config.presets import PRESETS
from tl_core.config import Count
from tl_core.data.scanning.selection import compile_glob
from tl_core.files import user_path
from tl_core.text import compile_expression

STORES = ("s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs", "hf", "file")
"""Schemes of a bucket's URI: all that pyarrow knows, apart from `mock`."""
_PARTS = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_SECONDS = (86_400, 3_600, 60, 1)


def _known_globs(globs: tuple[str, ...]) -> tuple[str, ...]:
    for glob in globs:
        compile_glob(glob)
    return globs


def _an_expression(pattern: str) -> str:
    compile_expression(pattern)
    return pattern


def _plain_name(name: str) -> str:
    if Path(name).name != name or name.startswith((".", "-")) or not name:
        raise ValueError("a folder name is expected, without / and not starting with . or -")
    return name


def _of_a_node(address: str) -> str:
    if not re.fullmatch(r"local|auto|[\w.-]+:\d{1,5}", address):
        raise ValueError(
            "local, auto or HOST:PORT is expected; a study runs on a node of its cluster, "
            "where ray job submit takes it"
        )
    return address


def _a_bucket(uri: str) -> str:
    if ":" in urlsplit(uri).netloc.rpartition("@")[0]:
        # The URI is stored with the study.
        raise ValueError("no password in a URI; set AWS_ACCESS_KEY_ID on every node, or a role")
    scheme, _, place = uri.partition("://")
    # A path alone would be a folder of its own on each node.
    if scheme not in STORES or not place or place.startswith("/") != (scheme == "file"):
        shared = Path(uri).as_uri() if uri.startswith("/") else "file:///PATH"
        raise ValueError(
            f"must be a URI such as s3://BUCKET/PATH; a disk that all nodes share is {shared}"
        )
    return uri


def _count_or_word(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    # pydantic reports one fault for each member of a union; this is one for all.
    try:
        return validate(value)
    except ValidationError:
        raise ValueError("must be a whole number from 1, or auto") from None


def _a_folder(value: object) -> object:
    if value == "":  # Such as a variable that is not set; pathlib takes it for the working folder.
        raise ValueError("a folder is expected; . is the working folder")
    return user_path(value) if isinstance(value, str) else value


def _known_preset(name: str) -> str:
    if name not in PRESETS:
        raise ValueError(f"must be one of {', '.join(PRESETS)}")
    return name


def is_range(values: tuple[float | str, ...]) -> bool:
    """Whether the values are the two ends of a range; all others, and words, are choices."""
    return len(values) == 2 and not any(isinstance(value, str) for value in values)


def parse_duration(value: object) -> object:
    """Return the seconds of a text such as `1h30m`; what is no text is a number of seconds.

    Raises `ValueError` for other texts: a bare number has no unit.
    """
    if not isinstance(value, str):
        return value
    found = _PARTS.fullmatch(value.strip())
    if not value.strip() or not found:
        raise ValueError("a duration is expected, such as 8h, 90m or 1h30m (units d, h, m, s)")
    parts = zip(_SECONDS, found.groups(), strict=True)
    return sum(seconds * float(n) for seconds, n in parts if n)


def show_folder(folder: Path) -> str:
    """Return a folder as text that means it where a leading `~` is the user's home, `-` a flag."""
    return f"./{folder}" if str(folder).startswith(("~", "-")) else str(folder)


Seeds = Annotated[int, Field(ge=1, le=1000)]
Words = Annotated[str, Field(min_length=1)]
PerGpu = Annotated[Count | Literal["auto"], WrapValidator(_count_or_word)]
"""How many of something one GPU has; `auto` is measured."""
Globs = Annotated[tuple[str, ...], AfterValidator(_known_globs)]
"""Patterns of files, as in a .gitignore file."""
Expression = Annotated[Words, AfterValidator(_an_expression)]
"""A regular expression."""
StudyName = Annotated[str, AfterValidator(_plain_name)]
"""The name of a folder."""
UserFolder = Annotated[
    Path,
    BeforeValidator(_a_folder),
    PlainSerializer(show_folder, when_used="json"),
]
"""A folder; a leading `~` is the user's home."""
Address = Annotated[Words, AfterValidator(_of_a_node)]
"""Where a Ray cluster is."""
Bucket = Annotated[str, AfterValidator(_a_bucket)]
"""A URI that all nodes can reach."""
Preset = Annotated[str, AfterValidator(_known_preset)]
"""One of `PRESETS`."""
Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=366 * 86400)]
"""Seconds."""
