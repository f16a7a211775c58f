import pytest

from tl_core.text import pluralize


@pytest.mark.parametrize(
    ("n", "told"), [(0, "no epoch"), (1, "1 epoch"), (2, "2 epochs"), (1200, "1,200 epochs")]
)
def test_a_number_of_things(n: int, told: str) -> None:
    assert pluralize(n, "epoch") == told


def test_a_thing_whose_plural_is_its_own() -> None:
    assert pluralize(2, "class", "classes") == "2 classes"
