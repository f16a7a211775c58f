"""Tables of how modes compare."""

from dataclasses import replace

from study.analysis.comparisons import mode_differences
from study.analysis.label_efficiency import Crossover
from study.reporting.comparison_tables import crossover_table, difference_table, interval_text
from tests.study.reporting.test_label_section import two_modes
from tests.support.studies.builders import make_confirmed


def test_differences_have_an_arrow_and_what_could_have_been_shown() -> None:
    (found,) = mode_differences(two_modes(0.1))
    half = found.estimate.half_width
    assert half is not None
    table = difference_table([found])
    (row,) = table.rows
    assert row[1].startswith("▲ +0.2")
    assert row[1].endswith(f" ±{half:.3f}")
    assert "with 95 % interval on new photos" in table.caption
    assert table.caption.endswith(" it is worse. The chance of a wrong arrow is about 5 % at most.")
    several = difference_table([found, replace(found, a=found.a._replace(train_ratio=0.2))])
    assert several.caption.endswith(
        "Holm-adjusted for the 2 comparisons of this table: the chance of one or more wrong arrows "
        "is about 5 % at most. So a single interval may exclude zero and have no arrow."
    )
    old = difference_table(mode_differences(make_confirmed("freeze", 0.1, (0.5,)) + make_confirmed(
        "scratch", 0.1, (0.25,)
    )))  # fmt: skip
    assert old.rows == [["0.1", "+0.250 (one\xa0seed)"]]
    assert old.caption == (
        "Paired differences in test_accuracy on these test images, with one seed, which gives no "
        "interval and so no verdict."
    )


def test_the_interval_of_one_seed_is_about_its_networks() -> None:
    one = difference_table(mode_differences([c for c in two_modes(0.1) if c.seed == 0]))
    assert one.rows[0][1].startswith("+0.200 (")
    assert "±" not in one.rows[0][1]
    assert one.caption == (
        "Paired differences in test_accuracy with 95 % interval on new photos. With one seed, it "
        "is the interval of these networks, and there is no verdict on the modes."
    )


def test_no_difference_of_shares_is_above_one() -> None:
    few = make_confirmed("freeze", 0.1, (0.9, 0.5)) + make_confirmed("scratch", 0.1, (0.4, 0.6))
    accuracy, loss = (mode_differences(few, score) for score in ("test_accuracy", "test_log_loss"))
    assert accuracy[0].estimate.half_width == loss[0].estimate.half_width
    assert difference_table(accuracy).rows[0][1].endswith(" ±1.000")
    # The gains are 0.5 and -0.1: 12.7062 standard errors of 0.3.
    assert difference_table(loss).rows[0][1].endswith(" ±3.812")


def test_no_number_is_minus_zero() -> None:
    assert interval_text(-1e-9, 0.1) == "(0.000\xa0to\xa00.100)"


def test_crossovers_are_called_what_they_are() -> None:
    found = [
        Crossover("freeze", "finetune", "seen", 0.2, 0.12, 0.3),
        Crossover("freeze", "finetune", "not resolved", 0.2, 0.12, 0.3),
        Crossover("freeze", "finetune", "not resolved", 0.2, None, 0.3),
        Crossover("freeze", "finetune", "not resolved", 0.2, None, None),
        Crossover("freeze", "finetune", "none seen", None, None, None),
        Crossover("freeze", "finetune", "not resolved", None, None, None),
    ]
    table = crossover_table(found, "test_macro_f1", 3)
    assert table.caption.startswith("Where one mode overtakes another in test_macro_f1, for each ")
    assert [row[2:] for row in table.rows] == [
        ["0.2", "0.12 to 0.3", "seen"],
        ["0.2", "0.12 to 0.3", "not resolved"],
        ["0.2", "below all tried to 0.3", "not resolved"],
        ["0.2", "unbounded", "not resolved"],
        ["none", "", "none seen"],
        ["", "", "not resolved"],
    ]
    assert table.caption.endswith(
        "Seen: the interval lies within the studied ratios, and by the arrows of the differences "
        "one mode is ahead at a ratio below it, the other at one above it. None seen: the line is "
        "zero nowhere, and one mode is shown to be ahead at a ratio or more, the other at none. "
        "Not resolved: neither."
    )
    assert crossover_table(found[3:4], "test_accuracy", 1).rows[0][3] == "(one\xa0seed)"
