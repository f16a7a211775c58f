"""What has changed in the records of a study, without a look at all of them."""

from collections.abc import Sequence

from study.records.trial_record import ENDED, TrialRecord


class Watch:
    """Tells which trials have begun and which have ended since it was asked last.

    Whoever keeps counts by it does the same work for each trial, however many a study has. It
    relies on that records are only added, each with a number of its own, and that one that has
    ended stays as it is.
    """

    def __init__(self, records: Sequence[TrialRecord]) -> None:
        """Watch records that the journal keeps up to date, by number."""
        self._records = records
        self.by_number: dict[int, TrialRecord] = {}
        """All that it has seen."""
        self.open: list[TrialRecord] = []
        """Those of them that run or were cut off, by number."""

    def update(self) -> tuple[list[TrialRecord], list[TrialRecord]]:
        """Return the new records, and all that have ended since, by number."""
        begun = self._begun()
        if begun:
            self.open = sorted([*self.open, *begun], key=lambda r: r.trial)
        ended = [r for r in self.open if r.status in ENDED]
        if ended:
            self.open = [r for r in self.open if r.status not in ENDED]
        return begun, ended

    def _begun(self) -> list[TrialRecord]:
        begun: list[TrialRecord] = []
        if len(self.by_number) == len(self._records):
            return begun
        for record in reversed(self._records):  # The latest have the highest numbers, or nearly.
            if record.trial not in self.by_number:
                self.by_number[record.trial] = record
                begun.append(record)
                if len(self.by_number) == len(self._records):
                    break
        return begun[::-1]
