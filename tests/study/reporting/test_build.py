import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from study.analysis.study_data import StudyData, read_study_data
from study.config.command_line import parse
from study.config.settings import Settings
from study.config.validate import resolve
from study.preflight.resume import find_replay
from study.records.trial_record import Status, TrialRecord
from study.reporting.build import _notes, next_steps, write_report
from study.reporting.factor_section import VERDICTS
from study.reporting.page import Code, FigureWriter, Table
from study.reporting.trial_section import reproduce_parts, trial_parts
from study.reporting.winner_section import winner_parts
from study.search.cells import Cell
from tests.study.analysis.test_extrapolation import ON_CURVE, curve
from tests.support.report_page import Page
from tests.support.studies.builders import make_epoch, make_record, make_settings
from tests.support.studies.synthetic import Synthetic, large_study, tiny_study
from tests.support.study_fixtures import Patch
from tl_core.config import Mode


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a study with every section, with failed and pruned trials, and its report.

    Its PNGs are empty: the page does not have them.
    """
    study = large_study("all", mode=["freeze", "finetune"], train_ratio=["0.1", "0.8"], trials="42")
    folder = study.write(tmp_path_factory.mktemp("runs") / "all")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("study.reporting.page.save_png", lambda _, path: path.touch())
        assert write_report(read_study_data(folder)) == folder / "report.html"
    return folder


@pytest.fixture
def page(full: Path) -> Page:
    return Page(full / "report.html")


def report_of(study: Synthetic, folder: Path) -> Page:
    return Page(write_report(read_study_data(study.write(folder / "study"))))


def test_every_figure_is_kept_and_in_the_page(full: Path, page: Page) -> None:
    names = {
        "label-efficiency", "trials", "learning-rate", "aux-weight", "curves", "confusion",
        "calibration", "importances", "parallel-coordinates",
    }  # fmt: skip
    files = {f"{name}.{suffix}" for name in names for suffix in ("png", "svg")}
    assert {file.name for file in (full / "figures").iterdir()} == files
    figures = [a["aria-labelledby"] for a in page.attributes("svg")]
    assert sorted(map(str, figures)) == [f"figure-{name}-title" for name in sorted(names)]
    assert figures[0] == "figure-label-efficiency-title", "it is on the first screen"
    assert page.text.count("efficientnet_lite0 on cat_dog: importance") == 2, "title, and text"
    ids = [a["id"] for _, a in page.tags if "id" in a]
    assert len(set(ids)) == len(ids)
    photos = [a for a in page.attributes("img") if "image/jpeg" in str(a["src"])[:20]]
    assert len(photos) == len(list((full / "winner" / "mistakes").iterdir())) > 0


def test_sections_and_tables(page: Page) -> None:
    assert [section["id"] for section in page.attributes("section")] == [
        "label-efficiency", "learning-rate", "auxiliary-task", "the-winner",
        "which-factors-matter", "trials", "how-to-reproduce",
    ]  # fmt: skip
    assert len(page.attributes("tr")) > 42 + 4 * 5 + 5, "a row a trial"
    weights = r"at 0\.8 with aux_weight 0\.\d+, minus aux_weight 0(?: at|, each)"
    assert re.search(weights, page.text)
    assert any(f"the task {verdict}." in page.text for verdict in VERDICTS.values())
    looks = [row.get("class") for row in page.attributes("tr")]
    assert (looks.count("pruned"), looks.count("failed"), looks.count("best")) == (2, 2, 1)
    for part in (
        "▲", "DivergedError: val_loss is nan in epoch 3",
        "done, 2 pruned, 2 failed. Bold: the winner", "click a column's name to sort",
        "Failed trials: 2 of the search, 0 after it",
        "python study/run.py --data cat_dog --backbone efficientnet_lite0 --precision fp32",
        "Over 5 fresh seeds, mean val_log_loss", "Tuning: ", "then the best 3 on 3 seeds",
        "They were selected because they are good, so only test scores tell what more labels gain",
        "If the validation accuracy falls while the training accuracy rises, it overfits;",
        "python study/run.py --replay all/", "python study/report.py all", "5f2c8a17d0",
        "torch 2.11.0", "NVIDIA H100 80GB HBM3", "a1b2c3",
    ):  # fmt: skip
        assert part in page.text


@pytest.mark.usefixtures("undrawn")
def test_its_commands_can_be_copied(tmp_path: Path) -> None:
    out = tmp_path / "all studies"
    folder = tiny_study("my cats", out=str(out)).write(out / "my cats")
    data, figures = read_study_data(folder), FigureWriter(tmp_path / "figures")
    parts = (*reproduce_parts(data), *winner_parts(data, figures))
    command, *commands = (part.text for part in parts if isinstance(part, Code))
    assert shlex.split(command)[-2:] == ["--out", str(out)]
    assert data.winner
    assert [shlex.split(command)[1:] for command in commands] == [
        ["study/run.py", "--replay", f"my cats/{data.winner.trial}", "--out", str(out)],
        ["study/report.py", "my cats", "--out", str(out)],
        ["study/predict.py", str(folder / "winner"), "IMAGE..."],
    ]


@pytest.mark.parametrize("storage", [None, "s3://bucket/path"])
def test_its_commands_find_a_study_that_was_moved(
    storage: str | None,
) -> None:
    folder = tiny_study("mine", out="runs", storage=storage).write(Path.cwd() / "~/renamed")
    data = read_study_data(folder)
    data.study["status"] = "interrupted"
    codes = [part.text for part in reproduce_parts(data) if isinstance(part, Code)]
    new, again, page = (shlex.split(code)[1:] for code in codes)
    assert new[-2:] == ["--out", "./~"]
    assert data.winner
    assert find_replay(parse(again[1:])).record.trial == data.winner.trial
    assert page == ["study/report.py", "renamed", "--out", "./~"]
    steps = [step.command for step in next_steps(data)]
    assert steps[0] == "python study/run.py --resume renamed --out './~'"
    assert all(step.endswith(" --out './~'") for step in steps)


UNCONFIRMED = "No cell was confirmed on fresh seeds"
MANY = tuple(f"class {i}" for i in range(40))
PARETO = tiny_study(objective="pareto", design="joint", train_ratio=["0.1", "0.8"])


def test_page_needs_no_other_file(full: Path, page: Page) -> None:
    kinds = ("src", "href", "xlink:href", "srcset", "data", "action", "formaction")
    links = [a[kind] for _, a in page.tags for kind in kinds if a.get(kind)]
    assert all(str(link).startswith(("data:image/", "#")) for link in links)
    assert page.attributes("link") == page.attributes("iframe") == []
    text = (full / "report.html").read_text()
    assert "@import" not in text
    assert set(re.findall(r"url\(.", text)) == {"url(#"}
    assert page.attributes("style") == [{}], (
        "and no style in an attribute, which its policy forbids"
    )
    assert [a for _, a in page.tags if "style" in a or any(k.startswith("on") for k in a)] == []
    assert len(text) < 500_000


def test_the_first_screen_says_what_to_do_how_sure_that_is_and_what_to_try_next(page: Page) -> None:
    order = [" of the images for training. Its acc", "Tuning: ", "What to try next"]
    order += ["If that is not the clone of the program, tl-study run is the same as python study/"]
    order += ["python study/run.py --extend", "--backbone resnet50", "Which factors matter"]
    places = [page.text.index(text) for text in order]
    assert places == sorted(places)


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize(("study", "texts"), [
    (replace(tiny_study(), confirm_seeds=0), [
        "The study is interrupted: this page shows its state", UNCONFIRMED,
        "The winner's model was not kept",
        "Importances of the factors are not shown: 3 trials have a score",
    ]),
    (replace(tiny_study(confirm=False), confirm_seeds=0),
     ["The study ran with --no-confirm", UNCONFIRMED]),
    (replace(tiny_study(), classes=MANY),
     ["40; study.json lists them", "the classes with most errors, the others as one"]),
    (replace(PARETO, confirm_seeds=0),
     ["The Pareto front of the search: no trial has a better val_log_loss with"]),
    (large_study(train_ratio=["0.1", "0.8"], trials="60"),
     ["then in 9 of 10 cells the best 3 on 3 seeds, confirmed on 5 seeds",
      "trials of at most 10 passes over the training images, or as many as make 200 steps if that "
      "is more, "]),
    (tiny_study(min_steps="0"), ["trials of at most 2 passes over the training images, "]),
    (large_study(mode=["probe"], train_ratio=["0.1", "0.8"], trials="2"),
     ["A probe has no learning rate", "probe at train_ratio 0.8, l2 0.03; val_log_loss", "fresh"]),
], ids=[
    "interrupted", "no confirm", "many classes", "pareto", "all modes", "passes", "probes",
])  # fmt: skip
def test_what_else_a_page_says(own_folder: Path, study: Synthetic, texts: list[str]) -> None:
    page = report_of(study, own_folder)
    assert [text for text in texts if text not in page.text] == []


@pytest.mark.usefixtures("undrawn")
@pytest.mark.parametrize("status", ["interrupted", "failed", None])
def test_study_without_a_finished_trial(
    own_folder: Path, status: Status | None, monkeypatch: Patch
) -> None:
    study = replace(tiny_study(), confirm_seeds=0)
    records = Synthetic.records
    changed = lambda self: [replace(r, status=status) for r in records(self) if status]  # noqa: E731
    monkeypatch.setattr(Synthetic, "records", changed)
    page = report_of(study, own_folder)
    assert "There is no winner, because no trial has finished." in page.text
    assert status or page.attributes("svg") == []


def test_a_study_that_ran_out_of_time_says_so(own_folder: Path) -> None:
    folder = tiny_study().write(own_folder / "runs" / "tiny")
    data = read_study_data(folder)
    data.study["status"] = "out of time"
    [note, *_] = _notes(data)
    assert note.startswith("The study is not complete: --max-time left out trials that would not")


@pytest.mark.parametrize(("accuracy", "told"), [(0.72, True), (0.73, False)])
def test_a_best_frozen_trial_near_chance_is_told_on_the_page(
    own_folder: Path, accuracy: float, told: bool
) -> None:
    data = read_study_data(tiny_study().write(own_folder / "runs" / "tiny"))
    epoch = make_epoch(val_balanced_accuracy=accuracy)
    data = replace(data, records=[replace(make_record(4), history=[epoch])])
    assert not any("chance" in note for note in _notes(data)), "an earlier version kept no counts"
    data.study["val_classes"] = [10, 10]  # Two standard errors above 0.5 are 0.7236.
    found = [note for note in _notes(data) if "chance" in note]
    assert bool(found) == told
    start = "Trial 4, of the frozen ones the best by balanced accuracy: frozen validation balanced"
    assert all(note.startswith(f"{start} accuracy 0.720 is less than") for note in found)


def study(settings: Settings, records: list[TrialRecord]) -> StudyData:
    about = {"status": "done", "data": {"classes": {"cat": 10, "dog": 9}, "images": 1900}}
    data = StudyData(Path("runs/mine"), about, records)
    vars(data).update(settings=settings, place=data.folder, confirmed=[], ranking=[])
    return data


@pytest.mark.parametrize(("modes", "columns"), [
    (("freeze", "probe"), {"lr": ["1.00e-03", ""], "l2": ["", "3.00e-02"]}),
    (("probe", "probe"), {"l2": ["3.00e-02", "3.00e-02"]}),
    (("freeze", "finetune"), {"lr": ["1.00e-03", "1.00e-03"]}),
])  # fmt: skip
def test_a_penalty_has_a_column_of_its_own(
    modes: tuple[Mode, ...], columns: dict[str, list[str]]
) -> None:
    records = [make_record(i, mode=mode, train_ratio=0.1) for i, mode in enumerate(modes)]
    for record in records:
        record.history[-1] = replace(record.history[-1], l2=0.03)
    settings = make_settings(data="photos", mode=[*dict.fromkeys(modes)], train_ratio=["0.1"])
    [table] = trial_parts(study(settings, records))
    assert isinstance(table, Table)
    found = dict(zip(table.head, zip(*table.rows, strict=True), strict=True))
    assert {name: [*found[name]] for name in ("lr", "l2") if name in found} == columns


@pytest.mark.parametrize("offline", [True, False])
@pytest.mark.parametrize(("source", "steps", "command"), [
    ("photos", 40, "python study/run.py --data photos --backbone resnet18 --precision fp32"),
    ("demo", 199, "python study/run.py --data demo --backbone efficientnet_lite0 --precision fp32"),
    ("photos", 200, None),
])  # fmt: skip
def test_a_network_with_few_steps_gets_the_default_ones(
    source: str, steps: int, command: str | None, offline: bool
) -> None:
    settings = make_settings(
        data=source, mode=["finetune"], train_ratio=["0.1"], min_steps=str(steps), offline=offline
    )
    record = make_record(mode="finetune", train_ratio=0.1)
    record.history[-1] = replace(record.history[-1], step=steps)
    found = list(next_steps(study(settings, [record])))
    commands = {step.text: shlex.split(step.command) for step in found}
    why = "as with fewer it may not have converged:"
    more = commands.get(f"The same with at least 200 steps for each network, {why}")
    assert (more is None) == (command is None)
    if command:
        assert more
        assert more[: len(command.split())] == command.split()
        assert more[more.index("--min-steps") + 1] == "200", "though it is the default of photos"
    new = [words for words in commands.values() if "--extend" not in words]
    assert all(("--offline" in words) == offline for words in new)


@pytest.mark.parametrize(("errors", "more"), [
    (ON_CURVE, ["Twice the labels, for about +0.7 points: add photos to the folder, and run a new "
                "study:"]),
    ((20, 20, 20, 20), []),
])  # fmt: skip
def test_more_labels_more_trials_and_another_network(
    errors: tuple[int, ...], more: list[str]
) -> None:
    trials = curve(errors)
    ratios = sorted({c.train_ratio for c in trials})
    settings = make_settings(
        data="photos", mode=["freeze"], train_ratio=[*map(str, ratios)], name="mine"
    )
    records = [make_record(i, mode="freeze", train_ratio=ratio) for i, ratio in enumerate(ratios)]
    data = study(settings, records)
    vars(data).update(confirmed=trials, ranking=[Cell("freeze", 0.64)])
    steps = list(next_steps(data))
    assert [step.text for step in steps] == [
        *more, "More trials for all cells, as some have too few:",
        "The same with another pretrained network:",
    ]  # fmt: skip
    assert steps[-2].command == "python study/run.py --extend mine --trials 28"
    moved = settings.model_copy(update={"out": Path("my runs")})
    vars(data).update(settings=moved, place=Path("my runs/mine"))
    assert all(step.command.endswith(" --out 'my runs'") for step in next_steps(data))
    assert all("--data photos" in step.command for step in (steps[0], steps[-1]) if more)
    assert "--backbone" in steps[-1].command


@pytest.mark.parametrize(("rate", "words"), [
    (0.00012, "--mode freeze --train-ratio 0.1 --lr 1e-05 0.1"),  # From 1e-4 to 1e-1.
    (0.003, None),
])  # fmt: skip
def test_a_learning_rate_at_the_end_of_its_range_gets_a_wider_one(
    rate: float, words: str | None
) -> None:
    modes = ["freeze", "partial"]
    settings = make_settings(
        data="photos", mode=modes, train_ratio=["0.1"], unfreeze=["2"], batchnorm="train",
        trials=20,
    )  # fmt: skip
    records = [make_record(i, mode="freeze", train_ratio=0.1, lr=rate) for i in range(8)]
    records.append(make_record(8, mode="partial", train_ratio=0.1, lr=1e-3, unfreeze=2))
    found = {step.text: step.command for step in next_steps(study(settings, records))}
    end = "as the best lies at an end of its range:"
    wider = found.get(f"A wider range of learning rates for freezing, {end}")
    assert (wider is None) == (words is None)
    if wider and words:
        assert words in wider
        # A flag that only other modes read would be refused, and 8 trials are the default.
        assert not {"--unfreeze", "--batchnorm", "--trials"} & {*wider.split()}
        assert resolve(parse(shlex.split(wider)[2:]))[1] == []


@pytest.mark.parametrize("status", ["out of time", "interrupted"])
def test_a_study_that_was_stopped_goes_on_before_it_gets_more_trials(status: str) -> None:
    settings = make_settings(data="photos", mode=["freeze"], train_ratio=["0.1"], name="mine")
    data = study(settings, [make_record(mode="freeze", train_ratio=0.1)])
    data.study["status"] = status
    first, *others = next_steps(data)
    assert first.text == "The trials that this study has not run yet:"
    assert first.command == "python study/run.py --resume mine"
    assert not any("--extend" in step.command for step in others)
