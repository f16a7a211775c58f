from study.search.confirmation import Planned
from study.search.searcher import KEEPS, StudySearcher, as_job
from tests.support.studies.builders import make_config
from tl_core.config import direction

FIRST = Planned(make_config(mode="finetune", seed=3), draw=1, trial=4)
SECOND = Planned(make_config(train_ratio=0.2), "confirm", 4, winner=True, trial=5)


def test_jobs_come_as_they_are_there() -> None:
    jobs = iter([[FIRST], [], [SECOND], None])
    searcher = StudySearcher("val_log_loss", lambda: next(jobs))
    given = [searcher.suggest(name) for name in "abcd"]
    assert [given[0], given[2]] == [as_job([FIRST]), as_job([SECOND])]
    assert [given[1], given[3]] == [None, StudySearcher.FINISHED]
    assert (searcher.metric, searcher.mode) == ("val_log_loss", direction("val_log_loss"))


def test_a_worker_without_trials_keeps_its_place_until_the_next_stage() -> None:
    jobs = iter([[FIRST], [], [], [SECOND], None])
    # Two workers are there, and the stage waits.
    searcher = StudySearcher("val_log_loss", lambda: next(jobs), is_idle=lambda n: n < 2)
    assert searcher.suggest("a") == as_job([FIRST])
    assert searcher.suggest("b") == {"kind": KEEPS, "batch": []}
    assert searcher.suggest("c") is None, "no third worker is started"
    for name in "ab":
        searcher.on_trial_complete(name)
    assert searcher.suggest("d") == as_job([SECOND])
    assert searcher.suggest("e") == StudySearcher.FINISHED


def test_a_job_tells_its_rivals_the_first_trial_and_its_worker_all() -> None:
    job = as_job([FIRST, SECOND])
    first = {"trial": 4, "kind": "search", "mode": "finetune", "train_ratio": 0.1}
    assert job.items() >= first.items()
    assert [Planned.of(drawn) for drawn in job["batch"]] == [FIRST, SECOND]
