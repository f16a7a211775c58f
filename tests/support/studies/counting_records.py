"""Records of a study that count how often they are read."""

from collections.abc import Iterator

from study.records.trial_record import TrialRecord


class CountingRecords(list[TrialRecord]):
    """Counts the records that loops over all of them read, from either end."""

    read = 0

    def __iter__(self) -> Iterator[TrialRecord]:
        return self._counted(super().__iter__())

    def __reversed__(self) -> Iterator[TrialRecord]:
        return self._counted(super().__reversed__())

    def _counted(self, records: Iterator[TrialRecord]) -> Iterator[TrialRecord]:
        for record in records:
            self.read += 1
            yield record
