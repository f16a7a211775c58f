import json
import re
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from study.analysis.study_data import confirmed_of, read_study_data
from study.records.study_folder import find_study
from study.records.trial_record import Status, TrialRecord
from study.report import main
from study.reporting.build import write_report
from study.reporting.factor_section import VERDICTS
from tests.support.studies.builders import make_record
from tests.support.studies.synthetic import Synthetic, large_study, tiny_study

EVIL = ("<script>alert(1)</script>", '"><img src=x onerror=alert(2)>$x^2$')


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data.strip())

    def count(self, tag: str) -> int:
        return sum(name == tag for name, _ in self.tags)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny study with its report; drawing takes seconds."""
    folder = tiny_study().write(tmp_path_factory.mktemp("runs") / "tiny")
    write_report(folder)
    return folder


@pytest.fixture
def tiny(own_folder: Path, built: Path) -> Path:
    """A copy of it, among the studies of this folder."""
    return Path(shutil.copytree(built, own_folder / "runs" / "tiny"))


def test_page_of_a_study_with_everything(own_folder: Path) -> None:
    study = large_study("all", mode=["freeze", "finetune"], train_ratio=["0.1", "0.8"], trials="48")
    folder = study.write(own_folder / "runs" / "all")
    path = write_report(folder)
    assert path == folder / "report.html"
    names = {
        "label-efficiency", "trials", "learning-rate", "aux-weight", "curves", "confusion",
        "calibration", "importances", "parallel-coordinates",
    }  # fmt: skip
    files = {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    assert {file.name for file in (folder / "figures").iterdir()} == files
    page = Page(path)
    figures = [a for tag, a in page.tags if tag == "img" and "image/svg" in str(a["src"])[:20]]
    assert [str(a["alt"]).startswith("efficientnet_lite0 on cat_dog") for a in figures] == [
        True
    ] * 9
    photos = [a for tag, a in page.tags if tag == "img" and "image/jpeg" in str(a["src"])[:20]]
    assert len(photos) == len(list((folder / "winner" / "mistakes").iterdir())) > 0
    sections = [a["id"] for tag, a in page.tags if tag == "section"]
    assert sections == [
        "label-efficiency", "learning-rate", "auxiliary-task", "the-winner", "which-factors-matter",
        "trials", "how-to-reproduce",
    ]  # fmt: skip
    assert page.count("tr") > 48 + 4 * 5 + 5, "a row a trial"
    assert "▲" in page.text


def test_page_needs_no_other_file(tiny: Path) -> None:
    page = Page(tiny / "report.html")
    links = {
        value
        for _, attributes in page.tags
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action") and value
    }
    assert all(link.startswith(("data:image/", "#")) for link in links)
    assert page.count("link") == page.count("iframe") == 0
    text = (tiny / "report.html").read_text()
    assert "@import" not in text
    assert "url(" not in text


def test_rebuilt_page_is_the_same_without_what_is_left_over(
    tiny: Path, built: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # The command that predicts names the folder, and this one is a copy.
    before = (tiny / "report.html").read_text().replace(str(built), "runs/tiny")
    (tiny / "report.html").unlink()
    (tiny / "figures" / "left-over.png").write_bytes(b"")
    assert main(["tiny"]) == 0
    assert capsys.readouterr().out == "runs/tiny/report.html\n"
    assert (tiny / "report.html").read_text() == before
    assert not (tiny / "figures" / "left-over.png").exists()


def test_strings_from_the_data_are_escaped(own_folder: Path) -> None:
    study = tiny_study("evil", data="<b>data</b>", backbone="resnet18")
    study.classes = EVIL
    folder = study.write(own_folder / "evil")
    about = json.loads((folder / "study.json").read_text())
    about["hardware"]["gpus"] = ["<i>GPU</i>"]
    (folder / "study.json").write_text(json.dumps(about))
    page = Page(write_report(folder))
    assert page.count("script") == 1, "the page's own"
    assert page.count("b") == page.count("i") == 0
    assert not any("onerror" in attributes for _, attributes in page.tags)
    for name in (*EVIL, "<b>data</b>", "<i>GPU</i>"):
        assert name in page.text


def test_failed_and_pruned_trials_show_as_such(own_folder: Path) -> None:
    study = large_study("troubled", mode=["freeze"], train_ratio=["0.1"], trials="20")
    page = Page(write_report(study.write(own_folder / "troubled")))
    looks = [attributes.get("class") for tag, attributes in page.tags if tag == "tr"]
    assert (looks.count("pruned"), looks.count("failed"), looks.count("best")) == (1, 1, 1)
    assert "DivergedError: val_loss is nan in epoch 3" in page.text
    assert "Failed trials: 1 of the search, 0 of the confirmation" in page.text


def test_interrupted_study_has_a_page_that_says_so(own_folder: Path) -> None:
    study = tiny_study("cut")
    study.confirm_seeds = 0
    page = Page(write_report(study.write(own_folder / "cut")))
    assert "The study is interrupted: this page shows its state" in page.text
    assert "No cell was confirmed on fresh seeds" in page.text
    assert "The winner's model was not kept" in page.text
    assert "Importances of the factors are not shown: 3 trials have a score" in page.text


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_study_whose_every_trial_was_cut_has_a_page(own_folder: Path, status: Status) -> None:
    class Cut(Synthetic):
        def records(self) -> list[TrialRecord]:
            return [replace(record, status=status) for record in super().records()]

    study = Cut(tiny_study().settings, confirm_seeds=0)
    page = Page(write_report(study.write(own_folder / "cut")))
    assert "There is no winner, because no trial has finished." in page.text


def test_study_without_any_trial_has_a_page(own_folder: Path) -> None:
    class Empty(Synthetic):
        def records(self) -> list[TrialRecord]:
            return []

    study = Empty(tiny_study().settings, confirm_seeds=0)
    page = Page(write_report(study.write(own_folder / "empty")))
    assert "There is no winner, because no trial has finished." in page.text
    assert page.count("img") == 0


def test_unconfirmed_scores_are_not_called_confirmed(own_folder: Path) -> None:
    study = tiny_study("quick", confirm=False)
    study.confirm_seeds = 0
    page = Page(write_report(study.write(own_folder / "quick")))
    assert "The study ran with --no-confirm" in page.text
    assert "No cell was confirmed on fresh seeds" in page.text


def test_how_to_reproduce_is_there(tiny: Path) -> None:
    text = Page(tiny / "report.html").text
    for part in (
        "python study/run.py --data demo --backbone efficientnet_lite0 --precision fp32",
        "python study/run.py --replay tiny/", "python study/report.py tiny", "5f2c8a17d0",
        "torch 2.11.0", "NVIDIA H100 80GB HBM3", "a1b2c3",
    ):  # fmt: skip
        assert part in text


def test_many_classes_are_not_listed(own_folder: Path) -> None:
    study = tiny_study("many")
    study.classes = tuple(f"class {i}" for i in range(40))
    page = Page(write_report(study.write(own_folder / "many")))
    assert "40; study.json lists them" in page.text
    assert "the classes with most errors, the others as one" in page.text


def test_what_confirmed_a_trial_knows_where_it_came_from() -> None:
    searched = make_record(0, train_ratio=0.2)
    other = make_record(1, train_ratio=0.1, seed=5)
    other.kind, other.source, other.test = "confirm", 0, {"test_accuracy": 0.9}
    kept = make_record(3, seed=7)
    kept.kind, kept.source = "winner", 0
    (found,) = confirmed_of([other, kept], [searched])
    assert (found.source, found.trial, found.seed, found.borrowed_from) == (0, 1, 5, 0.2)
    assert (found.arm, found.scores) == ("cell", {"test_accuracy": 0.9})


def test_test_scores_follow_the_metric(tiny: Path) -> None:
    data = read_study_data(tiny)
    assert data.test_scores == ("test_accuracy", "test_log_loss")
    assert data.classification == "val_log_loss"


@pytest.mark.parametrize("study", ["tiny", "runs/tiny", "./runs/tiny/"])
def test_study_is_found_by_name_or_folder(tiny: Path, study: str) -> None:
    assert find_study(study, Path("runs")) == Path("runs/tiny")


def test_unknown_study_lists_those_that_there_are(
    tiny: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tyni"]) == 2
    assert capsys.readouterr().err == "error: no study tyni in runs/; there are: tiny\n"
    assert main(["tiny", "--out", "elsewhere"]) == 2
    expected = "error: no study tiny in elsewhere/; there is none; --out names its folder\n"
    assert capsys.readouterr().err == expected


def test_folder_without_a_ledger_is_told(tiny: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tiny / "ledger.jsonl").unlink()
    assert main(["tiny"]) == 2
    assert "ledger.jsonl" in capsys.readouterr().err


def test_verdict_on_the_auxiliary_task_is_with_it_minus_without(tiny: Path) -> None:
    text = Page(tiny / "report.html").text
    assert re.search(
        r"finetune at 0.1 with aux_weight 0\.\d+, minus the same with aux_weight 0:", text
    )
    assert any(verdict in text for verdict in VERDICTS.values())
