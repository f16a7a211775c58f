"""What is made of the spans of timed trials; and a short study of them."""

import pytest

from benchmarks.scaling.spread import Span, most_at_once, run_timed, spread_row, utilisation


def span(start: float, end: float, gpu: int = 0, mode: str = "finetune") -> Span:
    return Span(mode, (gpu,) if mode != "freeze" else (), start, end)


def test_utilisation_is_what_trials_take_of_the_slots() -> None:
    assert utilisation([span(0, 2), span(0, 1), span(1, 2)], slots=2) == 1
    assert utilisation([span(10, 12), span(10, 11)], slots=2) == 0.75
    assert utilisation([span(0, 1), span(3, 4)], slots=1) == 0.5


@pytest.mark.parametrize(
    ("spans", "most"),
    [([], 0), ([span(0, 1), span(1, 2)], 1), ([span(0, 3), span(1, 2), span(2, 4)], 2)],
)
def test_most_at_once_counts_what_overlaps(spans: list[Span], most: int) -> None:
    assert most_at_once(spans) == most


def test_a_row_tells_gpus_from_frozen_trials() -> None:
    row = spread_row([span(0, 1), span(0, 1), span(0, 1, 3), span(0, 9, mode="freeze")], 2, True)
    assert (row["trials_on_gpus"], row["most_on_one_gpu"], row["gpus_a_trial"]) == (3, 2, 1)
    assert row["gpus_a_frozen_trial"] == 0
    assert row["utilisation"] == 0.375


@pytest.mark.integration
def test_trials_fill_two_gpus_in_pairs_and_frozen_ones_need_none() -> None:
    spans = run_timed(2, 2, frozen=True, trials=16, trial_s=1.0)
    learning = [s for s in spans if s.mode != "freeze"]
    assert len(learning) == len(spans) - len(learning) == 8
    assert all(len(s.gpus) == 1 for s in learning)
    assert [most_at_once([s for s in learning if gpu in s.gpus]) for gpu in (0, 1)] == [2, 2]
    assert not any(s.gpus for s in spans if s.mode == "freeze")
