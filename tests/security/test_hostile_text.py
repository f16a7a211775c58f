"""Text from the data stays text in the report: in the page, and in its figures."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from study.analysis.study_data import read_study_data
from study.reporting.build import write_report
from tests.support.report_page import Page
from tests.support.studies.synthetic import tiny_study

HOSTILE = [
    "<script>alert(1)</script>",
    """'"><img src=x onerror="alert(2)"><style>*{}</style>""",
    "{{ 7 * 7 }}{% raw %}<!--]]></svg><svg onload=alert(3)>&lt;b&gt;&#60;",
    r"$\frac{1}{0}$ $unclosed \undefined_{x}^ _hidden %s {0}",
    "\x1b[31m\x07\u202e<b>\r\nnext",
]
ROTATED = [" ".join(HOSTILE[i:] + HOSTILE[:i]) for i in range(len(HOSTILE))]
"""Each begins with another one; figures show only the beginning of a class name."""
PLAIN = [f"plain {i}" for i in range(len(HOSTILE))]
CHOICES = {
    "mode", "metric", "design", "objective", "sampler", "precision", "kind", "event", "status",
    "address", "resize", "augment", "batchnorm", "schedule", "aux", "aux_target", "aux_on",
    "class_weights", "aux_type",
}  # fmt: skip
"""Fields whose values the settings check; all others may have any text."""
NAMED = {"classes", "splits", "versions"}
"""Fields whose keys are text from outside too."""


def filled(value: Any, texts: list[str], field: str = "") -> Any:
    """The value with texts in every place that takes any."""
    if isinstance(value, dict):
        names = {k: texts[i] if field in NAMED else k for i, k in enumerate(value)}
        return {names[k]: filled(inner, texts, k) for k, inner in value.items()}
    if isinstance(value, list):
        named = field in NAMED
        return [texts[i] if named else filled(v, texts, field) for i, v in enumerate(value)]
    if field == "name":
        return texts[0].replace("/", "")  # The name of a study is the name of its folder.
    return texts[0] if isinstance(value, str) and field not in CHOICES else value


def report_of(folder: Path, texts: list[str]) -> Path:
    """The page of a study that has a class for each text, and these in all other places."""
    study = replace(tiny_study(trials="18"), classes=tuple(texts), troubles=True)
    study.write(folder)
    for name in ("study.json", "ledger.jsonl", "winner/model.json"):
        lines = (folder / name).read_text().splitlines()
        changed = [json.dumps(filled(json.loads(line), texts)) for line in lines]
        (folder / name).write_text("".join(f"{line}\n" for line in changed))
    return write_report(read_study_data(folder))


IN_FIGURES = {"g", "defs", "clippath", "path", "rect", "use", "text", "title", "circle"}
"""Their number depends on the length of a title, as a longer one leaves less room for an axis."""


def shape(page: Page) -> tuple[list[tuple[str, list[str]]], set[tuple[str, tuple[str, ...]]]]:
    """Its elements and the names of their attributes: in order, and the kinds that are in figures.

    A command has an element for each word, and a cell with a long word has a class.
    """
    kinds = [(tag, sorted({*names} - {"class"})) for tag, names in page.tags if tag != "span"]
    drawn = {(tag, tuple(names)) for tag, names in kinds if tag in IN_FIGURES}
    return [kind for kind in kinds if kind[0] not in IN_FIGURES], drawn


def drawn(folder: Path) -> dict[str, set[str]]:
    """The kinds of elements and of their attributes in each figure."""
    trees = {file.name: ElementTree.parse(file) for file in folder.glob("figures/*.svg")}
    return {
        name: {word for element in tree.iter() for word in (str(element.tag), *element.attrib)}
        for name, tree in trees.items()
    }


def test_no_element_comes_from_the_data(tmp_path: Path, without_png: None) -> None:
    plain = report_of(tmp_path / "plain", PLAIN)
    hostile = report_of(tmp_path / "hostile", ROTATED)
    page = Page(hostile)
    assert shape(page) == shape(Page(plain))
    assert drawn(hostile.parent) == drawn(plain.parent)
    for text in HOSTILE:
        assert " ".join(text.split()) in page.text
