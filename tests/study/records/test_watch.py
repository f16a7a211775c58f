from study.records.trial_record import TrialRecord
from study.records.watch import Watch
from tests.support.studies.builders import make_record
from tests.support.studies.counting_records import CountingRecords


def numbers(found: tuple[list[TrialRecord], list[TrialRecord]]) -> tuple[list[int], list[int]]:
    begun, ended = found
    return [r.trial for r in begun], [r.trial for r in ended]


def test_each_trial_begins_and_ends_once() -> None:
    records = [make_record(0), make_record(2, "interrupted"), make_record(3, "running")]
    watch = Watch(records)
    assert numbers(watch.update()) == ([0, 2, 3], [0])
    assert [r.trial for r in watch.open] == [2, 3]
    # Trials may begin in another order than that of their numbers, and several at once.
    records[:] = [*records[:1], make_record(1, "failed"), *records[1:], make_record(4, "running")]
    records[3].status = "pruned"
    assert numbers(watch.update()) == ([1, 4], [1, 3])
    assert [r.trial for r in watch.open] == [2, 4]
    assert numbers(watch.update()) == ([], [])
    records[2].status = "done"
    assert numbers(watch.update()) == ([], [2])
    assert watch.by_number == {r.trial: r for r in records}


def test_what_has_ended_is_not_read_again() -> None:
    records = CountingRecords(make_record(i) for i in range(1000))
    watch = Watch(records)
    watch.update()
    records.read = 0
    for i in range(1000, 1010):
        records.append(make_record(i, "running"))
        assert numbers(watch.update()) == ([i], [])
        records[-1].status = "done"
        assert numbers(watch.update()) == ([], [i])
    assert records.read == 10
