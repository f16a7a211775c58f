"""The driver's time a trial, added up from the measured parts: one thread does all of it.

The tracking is another process's time, and in no sum.
"""

from typing import Any

from benchmarks.scaling.base import Row, Tables, figures

EPOCHS = 10
TRIAL_S = (1, 60, 600)
"""How long trials take, for the slots that the driver can keep busy with them."""
NEEDS = ("search", "driver", "journal", "tracking")


def budget(report: dict[str, Any]) -> Tables:
    """A row for each number of finished trials, with the study's own sampler and stores."""
    return {
        "ms a trial of 10 epochs, and slots kept busy": [_row(report, n) for n in _sizes(report)]
    }


def _sizes(report: dict[str, Any]) -> list[int]:
    return [int(row["trials"]) for row in report["journal"]["tables"]["ms in the driver"]]


def _row(report: dict[str, Any], n: int) -> Row:
    loop = float(_of(report, "driver", slots=4, epochs=EPOCHS)["driver_cpu_ms"])
    search = [_of(report, "search", sampler="tpe", finished=m) for m in (n, 100)]
    # The no-op trials were searched for by the same sampler, with as many finished trials.
    more_search = max(0.0, float(search[0]["trial_ms"]) - float(search[1]["trial_ms"]))
    tracked = _of(report, "tracking", store="sqlite", runs=n if n >= 1000 else 0)
    shown = _of(report, "journal", trials=n)
    parts = {
        "loop_ms": loop,
        "more_search_ms": figures(more_search),
        "tracking_ms": float(tracked["trial_ms"]),
        "display_ms": float(shown["trial_of_10_epochs_ms"]),
    }
    total = sum(value for name, value in parts.items() if name != "tracking_ms")
    row: Row = {"finished": n}
    row |= parts
    row["sum_ms"] = figures(total)
    return row | {f"slots_of_{s}_s_trials": int(s * 1000 / total) for s in TRIAL_S}


def _of(report: dict[str, Any], part: str, **wanted: str | int) -> Row:
    """The first row of a part's tables that has these values."""
    for rows in report[part]["tables"].values():
        for row in rows:
            if all(row.get(name) == value for name, value in wanted.items()):
                return dict(row)
    raise KeyError(f"{part} has no row with {wanted}")
