"""MLflow's pages in a real browser, opened by the link that a study prints at its end."""

import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from playwright.sync_api import Browser, Locator, Page, expect

from study import sync
from study.analysis.study_data import read_study_data
from study.records.ledger import Ledger, read_records
from study.records.study_folder import PAGE, STUDY
from study.records.trial_record import TrialRecord
from study.reporting.build import write_report
from study.reporting.summary import outcome_of
from study.tracking.links import AXES
from tests.support.mlflow_server import MlflowServer
from tests.support.studies.builders import all_runs, make_settings
from tests.support.studies.synthetic import Synthetic, tiny_study

pytestmark = [pytest.mark.page, pytest.mark.ci]
LIMIT_S = 60
TRIALS = 12
"""More than the ten that the pages' charts show by default."""
ARTIFACTS = {STUDY: "split_seed", PAGE: "How to reproduce"}
"""Files of the study, and words that the page shows of no other of them."""


@pytest.fixture
def server(uri: str, tmp_path: Path) -> Iterator[str]:
    with MlflowServer(uri, tmp_path) as server:
        yield server.url


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A page high enough for all charts: they are drawn when they are visible."""
    page = browser.new_page(viewport={"width": 1600, "height": 1400})
    page.set_default_timeout(1000 * LIMIT_S)
    expect.set_options(timeout=1000 * LIMIT_S)
    yield page
    page.close()


def test_link_of_a_study_shows_its_trials_and_charts(
    server: str, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    study = tiny_study(
        "mine", mode=["freeze", "finetune"], train_ratio=["0.2", "0.4"], trials=str(TRIALS)
    )
    folder = study.write(Path("runs/mine"))
    data = read_study_data(folder)
    write_report(data)
    outcome = outcome_of(data)
    Ledger(folder).close("done", [folder / name for name in ARTIFACTS], outcome)
    assert sync.main(["mine", "--tracking-uri", server]) == 0
    (link,) = re.findall(r"^compare trials: (http\S+)$", capsys.readouterr().out, re.MULTILINE)

    page.goto(link)
    searched = [record for record in read_records(folder) if record.kind == "search"]
    expect_trials(page, searched)
    expect_factors(page.locator(".parcoords"), [*AXES, "val_log_loss"])
    expect_curves(page, ["val_log_loss", "val_accuracy", "train_loss"])

    parent, *_ = all_runs(MlflowClient(server))
    page.goto(f"{server}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}")
    expect(page.get_by_role("link", name="Compare the trials")).to_be_visible()
    expect(
        page.get_by_role("link", name=f"Winner, trial {outcome['winner']['trial']}")
    ).to_be_visible()
    for sentence in outcome["answer"]:
        expect(page.get_by_text(sentence, exact=True)).to_be_visible()
    page.get_by_role("tab", name="Artifacts").click()
    for file, words in ARTIFACTS.items():
        expect_artifact(page, file, words)


@pytest.mark.parametrize(("modes", "drawn"), [
    (["probe"], [False]), (["freeze", "probe"], [False, True]),
])  # fmt: skip
def test_a_chart_has_the_probes_which_have_no_learning_rate(
    modes: list[str], drawn: list[bool], server: str, page: Page, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = make_settings(name="mine", mode=modes, train_ratio=["0.2", "0.4"])
    Synthetic(settings, troubles=False).write(Path("runs/mine"))
    assert sync.main(["mine", "--tracking-uri", server]) == 0
    (link,) = re.findall(r"^compare trials: (http\S+)$", capsys.readouterr().out, re.MULTILINE)
    page.goto(link)
    charts = page.locator(".parcoords")
    for i, rates in enumerate(drawn):
        axes = [name for name in (*AXES, "val_log_loss") if rates or name != "log10_lr"]
        expect_factors(charts.nth(i), axes)
    expect(charts).to_have_count(len(drawn))


def expect_trials(page: Page, records: list[TrialRecord]) -> None:
    """The table has these trials, best first, and no other run."""
    records.sort(key=lambda record: record.history[-1].val_log_loss)
    for row, record in enumerate(records):
        name = f"{record.trial} {record.config.mode} {record.config.train_ratio:g}"
        cells = page.locator(f"[role=row][row-index='{row}']")
        expect(cells.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(page.get_by_text(f"{TRIALS} matching runs")).to_be_visible()


def expect_factors(chart: Locator, axes: list[str]) -> None:
    """The parallel coordinates have these axes, and lines between them."""
    expect(chart.locator(".label")).to_have_text(axes)
    expect(chart.locator(".label").last).to_be_visible()
    painted = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)"
    assert chart.locator("canvas.foreground").evaluate(painted)


def expect_curves(page: Page, metrics: list[str]) -> None:
    """Each metric has a chart, with a curve for each trial."""
    for metric in metrics:
        title = page.get_by_text(metric, exact=True)
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=title)
        # Each curve has a second trace without points, for smoothing.
        expect(card.locator(".trace:has(.point)")).to_have_count(TRIALS)


def expect_artifact(page: Page, file: str, words: str) -> None:
    """The file opens; HTML opens in a frame of the page."""
    page.get_by_text(file, exact=True).first.click()
    end = time.monotonic() + LIMIT_S
    while not any(frame.get_by_text(words).count() for frame in page.frames):
        assert time.monotonic() < end, f"no {words!r} in {file}"
        page.wait_for_timeout(200)
