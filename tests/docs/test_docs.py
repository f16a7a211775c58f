"""The pages name only what exists: files, tests, links, commands and their flags."""

import contextlib
import io
import re
import shlex
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path

import pytest

from study.config.cli_page import cli_page
from study.config.command_line import parse
from study.config.validate import resolve

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")]
)
FOLDERS = ("benchmarks", "docs", "examples", "study", "tests", "tl_core")
SCRIPTS = ("doctor", "predict", "report", "run", "sync")
_COMMAND = re.compile(
    rf"(?:study/({'|'.join(SCRIPTS)})\.py|tl-study ({'|'.join(SCRIPTS)}))(?= )([^`'\n]*)"
)
_EXISTING = ("resume", "extend", "replay")
_FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)

each_page = pytest.mark.parametrize("page", PAGES)


@each_page
def test_files_and_tests_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    words = set(re.findall(rf"(?<![\w./~-])(?:{'|'.join(FOLDERS)})/[\w./*:-]*", text))
    missing = sorted(word for word in words if not _exists(word.rstrip(".:")))
    assert not missing


@each_page
def test_modules_that_a_page_runs_exist(page: str) -> None:
    for name in re.findall(r"python -m ([\w.]+)", (ROOT / page).read_text()):
        path = ROOT / name.replace(".", "/")
        assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), name


@each_page
def test_links_lead_to_pages_and_headings(page: str) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", (ROOT / page).read_text()):
        if target.startswith(("https://", "http://")):
            continue
        name, _, anchor = target.partition("#")
        file = ROOT / Path(page).parent / name if name else ROOT / page
        assert file.exists(), target
        assert not anchor or anchor in _anchors(file.read_text()), target


@each_page
def test_commands_have_flags_that_exist(page: str) -> None:
    for script, words in _commands((ROOT / page).read_text()):
        flags = {word.partition("=")[0] for word in words if word.startswith("--")}
        assert flags <= _flags(script), (script, words)


@pytest.mark.parametrize("page", ["README.md", "docs/cluster.md"])
def test_studies_have_valid_settings(page: str) -> None:
    studies = [words for script, words in _commands((ROOT / page).read_text()) if script == "run"]
    assert studies
    for words in studies:
        _, faults = resolve({k: v for k, v in parse(words).items() if k not in _EXISTING})
        assert not faults, words


def test_cli_page_is_up_to_date() -> None:
    assert (ROOT / "docs/cli.md").read_text() == cli_page(), "run `make docs`"


def test_readme_is_short_and_ci_finds_its_two_commands() -> None:
    text = (ROOT / "README.md").read_text()
    assert len(text.split()) <= 1100
    for end in ("study/run.py", ".venv/bin/pytest -n 2"):
        first = next(line for line in text.splitlines() if line.endswith(end))
        assert first.startswith("python3 -m venv .venv && .venv/bin/pip install -c constraints.txt")


def test_index_lists_every_page() -> None:
    index = (ROOT / "docs/index.md").read_text()
    pages = [Path(page).name for page in PAGES if page.startswith("docs/")]
    assert [name for name in pages if name != "index.md" and f"]({name})" not in index] == []


def test_names_in_the_steps_of_contributing_are_in_their_files() -> None:
    steps = re.findall(
        r"^\d\. `([^`]+)`(.*(?:\n   .*)*)", (ROOT / "CONTRIBUTING.md").read_text(), re.M
    )
    assert len(steps) > 20
    for path, rest in steps:
        names = re.findall(r"`(\w+)`", rest)
        files = [ROOT / path] if (ROOT / path).is_file() else (ROOT / path).glob("*.py")
        text = "".join(file.read_text() for file in files)
        assert [name for name in names if name not in text] == [], path


def test_files_that_contributing_names_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = {name for name in re.findall(r"`([\w/]+\.py)`", text) if "/" in name}
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).is_file()] == []


def test_architecture_names_every_package() -> None:
    text = (ROOT / "docs/architecture.md").read_text()
    packages = {
        file.parent for top in ("study", "tl_core") for file in ROOT.glob(f"{top}/*/__init__.py")
    }
    assert [p.name for p in packages if f"`{p.relative_to(ROOT).as_posix()}/`" not in text] == []


@each_page
def test_make_targets_that_a_page_names_exist(page: str) -> None:
    makefile = (ROOT / "Makefile").read_text()
    named = set(re.findall(r"`make ([a-z]+)`", (ROOT / page).read_text()))
    assert named <= set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))


def test_reliability_names_the_markers_of_its_tests() -> None:
    text = (ROOT / "docs/reliability.md").read_text()
    named = set(re.findall(r"`(tests/[\w/]+\.py)`(?:, most of them)?(?: \((\w+)\))?", text))
    assert sum(marker != "" for _, marker in named) > 5
    assert sorted(pair for pair in named if not _runs_under(*pair)) == []


def test_make_uses_markers_that_pytest_knows() -> None:
    known = re.findall(r'^    "(\w+): ', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    used = re.findall(r"\(PYTEST\) -m (\w+)", (ROOT / "Makefile").read_text())
    assert used
    assert set(used) <= set(known)


def test_the_source_distribution_has_what_the_pages_name() -> None:
    lines = [line.split() for line in (ROOT / "MANIFEST.in").read_text().splitlines()]
    packed = {word for line in lines for word in line[1:] if line[0] in ("include", "graft")}
    by_itself = {"LICENSE", "README.md", "pyproject.toml", "study", "tl_core"}
    files = (
        file.name
        for kind in ("[!.]*.md", "[!.]*.txt", "[!.]*.yaml", "Makefile")
        for file in ROOT.glob(kind)
    )
    assert packed == {*files, *FOLDERS} - by_itself


def _runs_under(file: str, marker: str) -> bool:
    """Whether `pytest -m marker` runs a test of a file; without a marker, whether `pytest` does."""
    text, options = (ROOT / file).read_text(), (ROOT / "pyproject.toml").read_text()
    if marker:
        return f"pytest.mark.{marker}" in text
    excluded = re.findall(r"-m 'not \((.*?)\)'", options)[0].replace(" or ", "|")
    mark = rf"pytest\.mark\.(?:{excluded})\b"
    if re.search(rf"^pytestmark = .*{mark}", text, re.MULTILINE):
        return False
    tests = re.findall(r"^def test_", text, re.MULTILINE)
    return len(tests) > len(re.findall(rf"^@{mark}", text, re.MULTILINE))


def _exists(word: str) -> bool:
    """Whether a path, a glob or `path::test` names something."""
    path, _, test = word.partition("::")
    if test:
        return (ROOT / path).is_file() and f"def {test}(" in (ROOT / path).read_text()
    return any(ROOT.glob(path.rstrip("/"))) if "*" in path else (ROOT / path).exists()


def _anchors(text: str) -> set[str]:
    """What GitHub calls the headings."""
    headings = re.findall(r"^#+ (.*)$", _FENCE.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def _commands(text: str) -> Iterator[tuple[str, list[str]]]:
    for match in _COMMAND.finditer(text):
        yield match[1] or match[2], shlex.split(match[3], comments=True)


@cache
def _flags(script: str) -> frozenset[str]:
    """The flags that a script's --help lists."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), pytest.raises(SystemExit, match="0"):
        import_module(f"study.{script}").main(["--help"])
    return frozenset(re.findall(r"--[a-z][a-z-]*", out.getvalue()))
