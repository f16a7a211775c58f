"""Put the findings into their page: `python -m benchmarks.findings.page findings.json findings.md`.

The page marks where its tables go, as `benchmarks.scaling.page` tells; the picture is written
beside the page, under its name with the suffix `.png`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.findings.__main__ import read
from benchmarks.findings.plot import plot
from benchmarks.findings.tables import tables
from benchmarks.scaling.page import fill
from study.reporting.figures.style import save


def main(argv: Sequence[str]) -> None:
    """Fill the page's tables and draw its picture."""
    source, target = map(Path, argv)
    found = read(source)
    target.write_text(fill(target.read_text(), {"findings": {"tables": tables(found)}}))
    save(plot(found), target.with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1:])
