"""The code of docs/library.md runs, and its table has every public name."""

import re
import runpy
from pathlib import Path

import pytest

import tl_core

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


@pytest.mark.integration
def test_the_code_runs_and_prints_what_its_comments_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    (tmp_path / "page.py").write_text("\n".join(blocks))
    runpy.run_path("page.py")
    printed = capsys.readouterr().out.splitlines()
    expected = [
        line.partition("  # ")[2]
        for line in "".join(blocks).splitlines()
        if line.startswith("print(")
    ]
    assert len(printed) == len(expected)
    for line, comment in zip(printed, expected, strict=True):
        assert comment in ("", line)


def test_the_table_has_every_public_name() -> None:
    table = PAGE[PAGE.index("| name |") :]
    first_column = "".join(row.split("|")[1] for row in table.splitlines())
    assert sorted(re.findall(r"`(\w+)`", first_column)) == tl_core.__all__
