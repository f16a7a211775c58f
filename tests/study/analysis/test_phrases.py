from study.analysis.estimates import Estimate
from study.analysis.phrases import (
    change,
    enumerate_words,
    percent,
    points,
    reverse,
    seeds,
    share,
    show_weight,
)

GAIN = Estimate(0.012, 0.003, 0.021, 5)


def test_numbers_in_words() -> None:
    assert percent(Estimate(0.983, 0.971, 0.99, 5)) == "98.3 % (97.1 to 99.0 %)"
    assert points(GAIN) == "1.2 points (0.3 to 2.1)"
    assert points(GAIN, "+") == "+1.2 points (+0.3 to +2.1)"
    assert points(reverse(GAIN)) == "-1.2 points (-2.1 to -0.3)"
    assert change(Estimate(-0.0123, -0.0204, -0.004, 5)) == "-0.012 (-0.020 to -0.004)"
    e = Estimate(0.5, None, None, 1)
    assert (percent(e), points(reverse(e)), change(e)) == ("50.0 %", "-50.0 points", "+0.500")
    assert percent(Estimate(1, 1, 1, 5)) == "100.0 % (on every seed)"
    assert points(Estimate(0.05, 0.05, 0.05 + 1e-17, 5)) == "5.0 points (on every seed)"
    assert points(Estimate(-1e-5, -1e-4, 1e-4, 5)) == "0.0 points (0.0 to 0.0)"


def test_shares_counts_weights_and_lists() -> None:
    assert [share(x) for x in (0.01, 0.125, 0.8, 0.07)] == ["1 %", "12.5 %", "80 %", "7 %"]
    assert (seeds(1), seeds(5)) == ("one seed", "5 seeds")
    assert [show_weight(x, ".2g") for x in ("auto", 0.3125, 0.0)] == ["auto", "0.31", "0"]
    assert [enumerate_words([*"abc"[:n]]) for n in (1, 2, 3)] == ["a", "a and b", "a, b and c"]
