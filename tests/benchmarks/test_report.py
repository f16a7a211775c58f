import io
import json
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from benchmarks.speed.harness import Gate, Row, measured
from benchmarks.speed.report import show, verdict, write

ROWS = {
    "held": measured("quick", "time a head", [22.0, 20.0, 31.0], Gate(True, "same"), target=20),
    "missed": measured(
        "big", "memory", [1234.0], Gate(True, "same"), unit="MB", target=9, direction="at most"
    ),
    "measured": measured("share", "of a step", [0.12345], Gate(True, "same"), unit="of 1"),
    "gate failed": measured("wrong", "time", [99.0], Gate(False, "loss 1 against 2"), target=2),
    "skipped": Row("gpu", "on a GPU", skipped="no GPU"),
}


@pytest.fixture
def about() -> dict[str, Any]:
    hardware = {"cpus": 2, "gpus": []}
    return {
        "environment": {
            "versions": {"torch": "2"},
            "hardware": hardware,
            "cpu": "a chip",
            "load_before": (0.5, 0.4, 0.3),
            "load_after": (1.0, 0.5, 0.4),
        },
        "ceilings": {"copy, GB/s": 12.0},
    }


@pytest.mark.parametrize("word", ROWS)
def test_verdict(word: str) -> None:
    assert verdict(ROWS[word]) == word


def test_the_table_tells_numbers_targets_and_reasons(about: dict[str, Any]) -> None:
    out = io.StringIO()
    show(list(ROWS.values()), about, Console(file=out, width=160))
    lines = {line.split()[0]: line for line in out.getvalue().splitlines() if line.strip()}
    assert lines["quick"].split("  time")[0].split() == [
        *("quick", "22", "x", "20", "..", "31", "3", "at", "least", "20", "x", "held")
    ]
    assert "1,234 MB" in lines["big"]
    assert "missed" in lines["big"]
    assert "0.123" in lines["share"]
    assert "gate failed: loss 1 against 2" in lines["wrong"]
    assert "99" not in lines["wrong"]
    assert "skipped: no GPU" in lines["gpu"]
    assert "load (0.5, 0.4, 0.3) before, (1.0, 0.5, 0.4) after" in out.getvalue()


def test_the_file_is_replaced_whole(tmp_path: Path, about: dict[str, Any]) -> None:
    path = tmp_path / "out.json"
    path.write_text("old")
    write(path, about, list(ROWS.values()))
    found = json.loads(path.read_text())
    assert [row["verdict"] for row in found["rows"]] == list(ROWS)
    assert found["rows"][0]["median"] == 22
    assert found["rows"][3]["median"] is None
    assert found["ceilings"] == {"copy, GB/s": 12.0}
    assert [p.name for p in tmp_path.iterdir()] == ["out.json"]
