import hashlib

import pytest

from tl_core.aux_task import BRIGHTNESS, NO_TASK, AuxTask


def test_brightness_keeps_its_names() -> None:
    assert BRIGHTNESS.scores == ("brightness_mae", "brightness_r2")
    assert (BRIGHTNESS.key, BRIGHTNESS.bounds, BRIGHTNESS.of_pixels) == ("brightness", (0, 1), True)


def test_names_come_from_the_task() -> None:
    classes = AuxTask("coat colour", "classification", ("black", "red", "white"))
    assert classes.scores == ("coat_colour_accuracy", "coat_colour_skill")
    assert (classes.bounds, classes.of_pixels) == (None, False)
    assert NO_TASK.scores == ()


def test_a_long_name_has_a_key_that_mlflow_takes() -> None:
    keys = [AuxTask(name, "classification").key for name in ("x" * 200, "x" * 201, "x" * 202)]
    assert keys[0] == "x" * 200
    assert keys[1] == f"{'x' * 191}_{hashlib.sha256(b'x' * 201).hexdigest()[:8]}"
    assert len({*keys}) == 3
    assert {len(key) for key in keys} == {200}


@pytest.mark.parametrize(("name", "key", "shown"), [
    ("age", "age", "age"), ("age (y)", "age_y_", "age (y)"), ("年齢", "aux", "年齢"),
    ("a\x1b", "a_", "a\\x1b"), ("split", "aux_split", "split"), ("p_1", "aux_p_1", "p_1"),
    ("balanced", "aux_balanced", "balanced"),
])  # fmt: skip
def test_keys_are_safe_for_mlflow_and_names_for_a_terminal(name: str, key: str, shown: str) -> None:
    task = AuxTask(name, "regression")
    assert (task.key, task.shown) == (key, shown)


@pytest.mark.parametrize(("n_classes", "expected"), [(2, 1), (3, 3), (5, 5)])
def test_two_classes_need_one_output(n_classes: int, expected: int) -> None:
    classes = tuple("abcde"[:n_classes])
    assert AuxTask("x", "classification", classes).n_outputs == expected
    assert (BRIGHTNESS.n_outputs, NO_TASK.n_outputs) == (1, 0)
