"""Text from the data stays text in the report: in the page, and in its figures."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from study.records.trial_record import TrialRecord
from study.reporting.build import write_report
from tests.study.test_report import Page
from tests.support.studies.builders import make_record
from tests.support.studies.synthetic import Synthetic, tiny_study

HOSTILE = [
    "<script>alert(1)</script>",
    """'"><img src=x onerror="alert(2)"><style>*{}</style>""",
    "{{ 7 * 7 }}{% raw %}<!--]]></svg><svg onload=alert(3)>&lt;b&gt;&#60;",
    r"$\frac{1}{0}$ $unclosed \undefined_{x}^ _hidden %s {0}",
    "\x1b[31m\x07\u202e<b>\r\nnext",
]
CHOICES = {
    *("mode", "metric", "design", "objective", "sampler", "precision", "kind", "event", "status"),
    "address",
}
"""Fields whose words the settings check; all others may hold any text."""
NAMED = {"classes", "splits", "versions"}
"""Whose keys are text from outside too."""


class Troubled(Synthetic):
    """With a trial that failed, and whose reason is told."""

    def records(self) -> list[TrialRecord]:
        records = super().records()
        failed = make_record(len(records), "failed", (), "reason", mode="finetune", epochs=2)
        return [*records, failed]


def filled(value: Any, text: str, field: str = "") -> Any:
    """The value with the text in every place that takes any."""
    if isinstance(value, dict):
        names = {k: f"{text}{i}" if field in NAMED else k for i, k in enumerate(value)}
        return {names[k]: filled(inner, text, k) for k, inner in value.items()}
    if isinstance(value, list):
        named = field in NAMED
        return [f"{text}{i}" if named else filled(v, text, field) for i, v in enumerate(value)]
    if field == "name":
        return text.replace("/", "")  # Of a study: it names a folder.
    return text if isinstance(value, str) and field not in CHOICES else value


def report_of(folder: Path, text: str) -> Path:
    """The page of a study with three classes, all of whose texts are this one."""
    study = Troubled(tiny_study().settings, troubles=False)
    study.classes = tuple(f"{text}{i}" for i in range(3))
    study.write(folder)
    rewrite(folder / "study.json", lambda about: filled(about, text))
    rewrite(folder / "ledger.jsonl", lambda event: filled(event, text))
    rewrite(folder / "winner" / "model.json", lambda card: filled(card, text))
    return write_report(folder)


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    lines = path.read_text().splitlines()
    path.write_text("".join(f"{json.dumps(change(json.loads(line)))}\n" for line in lines))


def shape(page: Path) -> list[tuple[str, list[str]]]:
    """Its elements, and which attributes they have."""
    return [(tag, sorted(attributes)) for tag, attributes in Page(page).tags]


def drawn(folder: Path) -> dict[str, set[str]]:
    """The kinds of elements, and of their attributes, in each figure."""
    trees = {file.name: ElementTree.parse(file) for file in folder.glob("figures/*.svg")}
    return {
        name: {word for element in tree.iter() for word in (str(element.tag), *element.attrib)}
        for name, tree in trees.items()
    }


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return report_of(tmp_path_factory.mktemp("plain") / "study", "plain")


@pytest.mark.filterwarnings("ignore:Glyph")  # No font has control characters.
@pytest.mark.parametrize("text", HOSTILE)
def test_no_element_comes_from_the_data(plain: Path, tmp_path: Path, text: str) -> None:
    page = report_of(tmp_path / "study", text)
    assert shape(page) == shape(plain)
    assert " ".join(text.split()) in Page(page).text
    assert drawn(page.parent) == drawn(plain.parent)
