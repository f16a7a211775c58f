"""The arithmetic of `benchmarks.scaling`, and that it measures what the study really uses."""

import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.scaling import __main__ as scaling
from benchmarks.scaling.base import figures, median_ms
from benchmarks.scaling.budget import budget
from benchmarks.scaling.disk import WIDTHS, feature_row, size_row
from benchmarks.scaling.journal import make_records
from benchmarks.scaling.memory import draw_entry
from benchmarks.scaling.page import fill
from benchmarks.scaling.search import finished_trials, measure
from study.records.trial_record import best_of
from tl_core.data.datasets import ImageSet
from tl_core.models.backbones import load_backbone


@pytest.mark.parametrize(
    ("times_s", "expected_ms"), [([0.002], 2), ([0.003, 0.001], 2), ([0.009, 0.001, 0.002], 2)]
)
def test_the_median_of_seconds_is_told_in_milliseconds(
    times_s: list[float], expected_ms: float
) -> None:
    assert median_ms(times_s) == pytest.approx(expected_ms)


@pytest.mark.parametrize(
    ("value", "kept"), [(1234.5, 1230.0), (0.00123456, 0.00123), (0.0, 0.0), (99.96, 100.0)]
)
def test_figures_keeps_three_digits(value: float, kept: float) -> None:
    assert figures(value) == kept


def test_a_decoded_image_takes_three_bytes_a_pixel() -> None:
    row = size_row(n=1_200_000, side=224, images_per_s=100)
    assert row["bytes_an_image"] == 150_528
    assert row["disk_gb"] == 181
    assert row["decode_core_hours"] == 3.33


def test_a_feature_takes_four_bytes() -> None:
    row = feature_row(25_000, "efficientnet_lite0")
    assert (row["bytes_an_image"], row["gb"]) == (5120, 0.128)


@pytest.mark.parametrize("name", WIDTHS)
def test_the_widths_of_features_are_those_of_the_networks(name: str) -> None:
    assert load_backbone(name, "none", 64).n_features == WIDTHS[name]


def test_finished_trials_have_ended() -> None:
    assert [(r.draw, r.status, len(r.history)) for r in finished_trials(2)] == [
        (0, "done", 1),
        (1, "done", 1),
    ]


def test_every_sampler_is_measured_at_every_size() -> None:
    (rows,) = measure(sizes=(3, 6), repeats=1).values()
    assert len({(r["sampler"], r["finished"]) for r in rows}) == 3 * 2
    for row in rows:
        parts = float(row["ask_ms"]) + float(row["tell_ms"])
        assert row["trial_ms"] == pytest.approx(parts, rel=0.01)


def test_drawn_entries_are_image_sets(tmp_path: Path) -> None:
    images = ImageSet.open(draw_entry(tmp_path / "entry", 100, 16))
    assert images.pixels.shape == (100, 3, 16, 16)
    assert len(images.ids) == 100
    means = images.pixels.mean((1, 2, 3)) / 255
    assert images.brightness == pytest.approx(means, abs=1e-3)


def test_the_first_of_the_made_up_records_is_the_best() -> None:
    records = make_records(5)
    assert best_of(records, "val_log_loss") is records[0]


def test_a_part_is_printed_and_written_beside_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "scaling.json"
    out.write_text(json.dumps({"driver": {"tables": {}}}))
    found = {"tables": {"sizes": [{"images": 25_000, "gb": 3.76}]}}
    monkeypatch.setattr(scaling, "measure", lambda part: found)
    scaling.main(["disk", "--out", str(out)])
    assert json.loads(out.read_text()) == {"driver": {"tables": {}}, "disk": found}
    assert "25,000" in capsys.readouterr().out


def test_an_unknown_part_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        scaling.main(["dsk"])
    assert "unknown part dsk; must be of search, driver, spread" in capsys.readouterr().err


def test_a_table_has_a_column_for_each_value() -> None:
    shown = scaling.table("disk: sizes", [{"images": 1, "gb": 0.5}, {"images": 2, "gb": 1.0}])
    assert [column.header for column in shown.columns] == ["images", "gb"]
    assert shown.row_count == 2
    Console(quiet=True).print(shown)


def _report() -> dict[str, Any]:
    """A report with figures that are easy to add up."""
    asks = [
        {"sampler": "tpe", "finished": n, "trial_ms": ms} for n, ms in ((100, 10.0), (1_000, 60.0))
    ]
    tables: dict[str, list[dict[str, Any]]] = {
        "search": asks,
        "driver": [{"slots": 4, "epochs": 10, "driver_cpu_ms": 50.0}],
        "tracking": [{"store": "sqlite", "runs": n, "trial_ms": 30.0 + n / 1e3} for n in (0, 1000)],
        "journal": [{"trials": n, "trial_of_10_epochs_ms": 9.0} for n in (100, 1_000)],
    }
    report: dict[str, Any] = {part: {"tables": {"rows": rows}} for part, rows in tables.items()}
    report["journal"]["tables"] = {"ms in the driver": tables["journal"]}
    return report


def test_the_budget_adds_up_what_the_driver_does_for_a_trial() -> None:
    (rows,) = budget(_report()).values()
    assert [row["sum_ms"] for row in rows] == [50 + 0 + 9, 50 + 50 + 9]
    assert rows[1]["slots_of_60_s_trials"] == 550


def test_a_budget_without_a_row_says_which() -> None:
    report = _report()
    report["tracking"]["tables"] = {}
    with pytest.raises(KeyError, match=r"tracking has no row with .*'runs': 0"):
        budget(report)


PAGE = (
    "Text.\n\n<!-- search | rows | finished=100 | sampler trial_ms -->\nold\n<!-- end -->\nMore.\n"
)


def test_a_page_gets_its_tables_from_the_report() -> None:
    filled = fill(PAGE, _report())
    assert "| sampler | trial_ms |\n| --- | ---: |\n| tpe | 10 |\n<!-- end -->\nMore." in filled
    assert "old" not in filled
    assert fill(filled, _report()) == filled


def test_a_page_with_an_unknown_table_is_told_the_known_ones() -> None:
    with pytest.raises(KeyError, match="search has no table 'lines'; it has 'rows'"):
        fill(PAGE.replace("| rows |", "| lines |"), _report())


def test_the_committed_page_holds_the_committed_figures() -> None:
    docs = Path(scaling.__file__).parents[2] / "docs"
    page = (docs / "scaling.md").read_text()
    assert page.count("<!-- end -->") >= 8
    assert fill(page, json.loads((docs / "scaling.json").read_text())) == page
