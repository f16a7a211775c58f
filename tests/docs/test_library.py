"""The code of docs/library.md runs, and its table has every public name."""

import re
import runpy
from pathlib import Path

import pytest

import tl_core
from tl_core.data.demo import draw

PAGE = (Path(__file__).parents[2] / "docs" / "library.md").read_text()


def save_photos(folder: Path) -> None:
    """Save `photos.csv`, which the page reads: three photos of each of twenty patients."""
    rows = ["path,label,patient,age"]
    for i in range(60):
        draw(i, 32).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{'cat' if i % 2 else 'dog'},{i % 20},{40 + i}")
    (folder / "photos.csv").write_text("\n".join(rows))


@pytest.mark.integration
def test_the_code_runs_and_prints_what_its_comments_say(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 6
    (tmp_path / "page.py").write_text("\n".join(blocks))
    save_photos(Path.cwd())
    page = runpy.run_path("page.py")
    printed = capsys.readouterr().out.splitlines()
    expected = [
        line.partition("  # ")[2]
        for line in "".join(blocks).splitlines()
        if line.startswith("print(")
    ]
    assert len(printed) == len(expected)
    for line, comment in zip(printed, expected, strict=True):
        assert comment in ("", line)
    groups, split = page["patients"].rules.groups, page["by_patient"]
    sides = [set(groups[part]) for part in (split.train, split.val, split.test)]
    assert sum(map(len, sides)) == len(set.union(*sides)), "a patient is on one side"


def test_the_table_has_every_public_name() -> None:
    table = PAGE[PAGE.index("| name |") :]
    first_column = "".join(row.split("|")[1] for row in table.splitlines())
    assert sorted(re.findall(r"`(\w+)`", first_column)) == tl_core.__all__
