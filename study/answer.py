"""The study's answer: three sentences, made from the numbers."""

from collections.abc import Sequence
from dataclasses import dataclass

from study.estimates import Confirmed
from study.records import TrialRecord
from tl_core.config import Metric


@dataclass(frozen=True)
class About:
    """What the sentences must name, and the records don't hold."""

    data: str
    """Name of the data set."""
    images: int
    """All images of it."""
    metric: Metric
    """What the search went by."""
    aux_searched: bool
    """Whether aux_weight had more than one value to take."""


def answer(
    about: About, records: Sequence[TrialRecord], confirmed: Sequence[Confirmed]
) -> tuple[str, str, str]:
    """Return the three sentences: which mode, what labels buy, what the auxiliary task did.

    Args:
        about: the study.
        records: the trials of the search.
        confirmed: the confirming trials; none of them if confirming was skipped, and then the
            sentences go by validation scores and say that they are unconfirmed.
    """
    raise NotImplementedError
