"""The code of docs/library.md runs, and its table has every public name."""

import re
import runpy
from pathlib import Path

import pytest

import tl_core
from study.config.defaults import DEFAULTS
from study.config.settings import FACTORS
from tests.support.studies.builders import make_settings
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


def test_the_defaults_that_differ_are_those_of_the_page() -> None:
    said = PAGE[PAGE.index("Some defaults are not those of a study") :].split("\n\n")[0]
    study = {**DEFAULTS, "aux_on": make_settings(aux="age").aux_images}
    # Factors are searched, and what is None in the settings is the mode's own.
    own = {
        name: field.default
        for name, field in tl_core.TrialConfig.model_fields.items()
        if name not in FACTORS and study.get(name) is not None
    }
    differ = sorted(name for name, value in own.items() if value != study[name])
    assert differ == ["aux_on", "precision", "seeds"]
    assert all(f"`{name}` is " in said and str(own[name]) in said for name in differ)
