"""Put measured figures into a page: `python -m benchmarks.scaling.page scaling.json scaling.md`.

Two lines in the page mark a table: part, title, conditions on rows, and columns:

    <!-- search | ms a trial by finished trials | storage=journal | sampler finished ask_ms -->
    <!-- end -->

The text between them is replaced, so that nobody copies figures by hand.
"""

import json
import re
import sys
from pathlib import Path
from typing import Any

from benchmarks.common import Row

_TABLE = re.compile(
    r"(<!-- (\w+) \| ([^|>]+?) \| ([^|>]*?) \| ([^|>]*?) -->\n).*?(<!-- end -->)", re.S
)


def fill(page: str, report: dict[str, Any]) -> str:
    """The page with every table filled from the report."""
    return _TABLE.sub(lambda found: found[1] + _found_table(found, report) + found[6], page)


def _found_table(found: re.Match[str], report: dict[str, Any]) -> str:
    part, title, where, columns = found[2], found[3], found[4].split(), found[5].split()
    tables = report[part]["tables"]
    if title not in tables:
        raise KeyError(f"{part} has no table {title!r}; it has {', '.join(map(repr, tables))}")
    wanted = dict(condition.split("=") for condition in where)
    rows = [row for row in tables[title] if all(str(row[k]) == v for k, v in wanted.items())]
    return markdown([{name: row[name] for name in columns or row} for row in rows])


def markdown(rows: list[Row]) -> str:
    """The rows as a Markdown table."""
    names = list(rows[0])
    lines = [names, ["---" if isinstance(rows[0][name], str) else "---:" for name in names]]
    lines += [[_show(row[name]) for name in names] for row in rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _show(value: str | int | float) -> str:
    """Thousands with commas; whole floats without `.0`."""
    if isinstance(value, str):
        return value
    return f"{int(value):,}" if value == int(value) else f"{value:,}"


if __name__ == "__main__":
    source, target = map(Path, sys.argv[1:])
    target.write_text(fill(target.read_text(), json.loads(source.read_text())))
