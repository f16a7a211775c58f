"""Numbers in words."""

import pytest

from study.answers.phrases import change, show_number, show_score, show_value
from study.intervals.estimate import Estimate


@pytest.mark.parametrize(("value", "style", "shown"), [
    (0.25, ".4f", "0.2500"), (9999.4, ".3f", "9999.400"), (-0.00001, "+z.3f", "+0.000"),
    (1.234567e35, ".4f", "1.235e+35"), (12345.6, "z.3f", "1.235e+04"),
    (12345.6, "+z.3f", "+1.235e+04"), (-12345.6, "+z.3f", "-1.235e+04"), (None, ".4f", ""),
])  # fmt: skip
def test_no_number_has_dozens_of_digits(value: float | None, style: str, shown: str) -> None:
    assert show_number(value, style) == shown


def test_nor_has_a_loss_or_its_interval() -> None:
    loss = Estimate(2e30, 1e20, 3e30, 3)
    assert show_score("test_log_loss", loss) == "2e+30 (1e+20 to 3e+30)"
    assert change(loss) == "+2e+30 (+1e+20 to +3e+30)"
    assert show_value("val_log_loss", 2e30) == "2e+30"
