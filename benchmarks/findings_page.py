"""Put the findings into their page: `python -m benchmarks.findings_page findings.json findings.md`.

The page marks where its tables go, as `benchmarks.scale_page` tells; the picture is written beside
the page, under its name with the suffix `.png`.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.findings import read
from benchmarks.findings_plot import plot
from benchmarks.findings_tables import tables
from benchmarks.scale_page import fill
from study.drawing import save


def main(argv: Sequence[str]) -> None:
    """Fill the page's tables and draw its picture."""
    source, target = map(Path, argv)
    found = read(source)
    target.write_text(fill(target.read_text(), {"findings": {"tables": tables(found)}}))
    save(plot(found), target.with_suffix(".png"))


if __name__ == "__main__":
    main(sys.argv[1:])
