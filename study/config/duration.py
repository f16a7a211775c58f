"""Durations on the command line: 8h, 90m, 1h30m."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BeforeValidator, Field

_PARTS = re.compile(
    r"(?:(\d+(?:\.\d+)?)d)?(?:(\d+(?:\.\d+)?)h)?(?:(\d+(?:\.\d+)?)m)?(?:(\d+(?:\.\d+)?)s)?"
)
_UNITS = ("days", "hours", "minutes", "seconds")


def parse_duration(value: object) -> object:
    """Return the seconds of a text such as `1h30m`; what is no text is a number of seconds.

    Raises `ValueError` for other texts: a bare number has no unit.
    """
    if not isinstance(value, str):
        return value
    found = _PARTS.fullmatch(value.strip())
    if not value.strip() or not found:
        raise ValueError("a duration is expected, such as 8h, 90m or 1h30m (units d, h, m, s)")
    parts = zip(_UNITS, found.groups(), strict=True)
    return timedelta(**{unit: float(n) for unit, n in parts if n}).total_seconds()


Duration = Annotated[float, BeforeValidator(parse_duration), Field(gt=0, le=366 * 86400)]
"""Seconds."""
