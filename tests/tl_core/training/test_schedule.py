import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tl_core.config import TrialConfig
from tl_core.training.schedule import Budget, rate


def budget(n_images: int, **changes: object) -> Budget:
    plain = {"mode": "finetune", "train_ratio": 0.1, "lr": 0.1, "batch_size": 32}
    return Budget.of(TrialConfig(**plain | changes), n_images)


@pytest.mark.parametrize(("n_images", "epochs", "min_steps", "pass_steps", "passes"), [
    (48, 10, 0, 2, 10), (48, 10, 200, 2, 100), (48, 10, 201, 2, 101),
    (1920, 10, 200, 60, 10), (240, 10, 200, 8, 25), (24, 3, 1, 1, 3),
    (33, 1, 0, 1, 1),  # One image alone joins the batch before it.
])  # fmt: skip
def test_small_subsets_are_passed_over_more_often(
    n_images: int, epochs: int, min_steps: int, pass_steps: int, passes: int
) -> None:
    found = budget(n_images, epochs=epochs, min_steps=min_steps)
    assert (found.pass_steps, found.passes) == (pass_steps, passes)
    assert found.steps == pass_steps * passes >= min_steps


@given(st.integers(1, 500), st.integers(1, 12), st.integers(0, 300), st.integers(1, 40))
def test_the_parts_are_all_steps_once_and_differ_by_one_at_most(
    n_images: int, epochs: int, min_steps: int, batch_size: int
) -> None:
    b = budget(n_images, epochs=epochs, min_steps=min_steps, batch_size=batch_size)
    parts = [b.part(report) for report in range(1, epochs + 1)]
    assert [step for part in parts for step in part] == [*range(b.steps)]
    sizes = {len(part) for part in parts}
    assert max(sizes) - min(sizes) <= 1
    assert min(sizes) >= 1


def test_every_pass_sees_every_image_once_whatever_the_reports() -> None:
    b, seen = budget(10, epochs=3, min_steps=10, batch_size=4), []
    for report in (1, 2, 3):
        seen += list(b.batches(report, lambda number: 100 * number + np.arange(10)))
    assert [step for step, _, _ in seen] == [*range(12)], "four passes of three steps"
    views = np.concatenate([views for _, views, _ in seen])
    assert views.tolist() == [100 * n + i for n in (1, 2, 3, 4) for i in range(10)]
    stacked = [*b.batches(2, lambda number: np.full((2, 10), number))]
    assert [views.shape for _, views, _ in stacked] == [(2, 4), (2, 2), (2, 4), (2, 4)]


def test_cosine_rises_over_a_tenth_and_falls_to_almost_zero() -> None:
    rates = [rate("cosine", step, 100) for step in range(100)]
    assert rates[:10] == pytest.approx([k / 11 for k in range(1, 11)])
    assert rates[10] == max(rates) == 1
    assert rates[55] == pytest.approx(0.5)
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert 0 < rates[-1] < 1e-3
    assert {rate("constant", step, 100) for step in range(100)} == {1.0}
    assert rate("cosine", 0, 1) == 1, "a single step learns"
