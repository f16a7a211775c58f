"""MLflow's pages, as somebody meets them who follows the link at the end of a study."""

import os
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from study.tracking.links import AXES
from tests.conftest import SIDE, TINY
from tests.support.mlflow_server import mlflow_server
from tests.support.studies.builders import all_runs
from tests.support.studies.ray_runs import ray_runs

pytest.importorskip("playwright", reason="playwright is not installed")
from playwright.sync_api import Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium")
pytestmark = [
    pytest.mark.page,
    pytest.mark.skipif(not CHROMIUM, reason="no browser: Debian's chromium is not installed"),
]
LIMIT_S = 60
TRIALS = 12
"""More than the ten that the pages' charts show by default."""
ARTIFACTS = {
    "study.json": "split_seed",
    "trials.csv": f"the first {TRIALS} rows",
    "report.html": "How to reproduce",
}
"""Files of the study, and words that the pages show of no other of them."""


@pytest.fixture
def server(uri: str, tmp_path: Path) -> Iterator[str]:
    with mlflow_server(uri, tmp_path) as url:
        yield url


@pytest.fixture
def page() -> Iterator[Page]:
    """A page high enough for all charts: they are drawn when they come into sight."""
    with sync_playwright() as playwright:
        # Chromium's own sandbox can't be had as root.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1600, "height": 1400})
        page.set_default_timeout(1000 * LIMIT_S)
        expect.set_options(timeout=1000 * LIMIT_S)
        yield page
        browser.close()


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Folder for screenshots, kept if TL_STUDY_SCREENSHOTS names one."""
    folder = Path(os.environ.get("TL_STUDY_SCREENSHOTS", tmp_path / "screenshots"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def test_link_of_a_study_shows_its_trials_and_charts(
    server: str, photo_folder: Path, tiny_weights: Path, page: Page, pictures: Path
) -> None:
    with ray_runs() as runs:
        process = runs.start(
            "--data", photo_folder, "--backbone", TINY, "--weights", tiny_weights,
            "--image-size", SIDE, "--mode", "freeze", "finetune", "--train-ratio", 0.2, 0.4,
            "--epochs", 2, "--trials", TRIALS, "--confirm-seeds", 1, "--tracking-uri", server,
        )  # fmt: skip
        code, printed, told = runs.finish(process)
    assert code == 0, printed + told
    (link,) = re.findall(r"^compare trials: (http\S+)$", printed, re.MULTILINE)

    page.goto(link)
    expect_trials(page, best_first(server))
    expect_factors(page, [*AXES, "val_log_loss"])
    expect_curves(page, ["val_log_loss", "val_accuracy", "train_loss"], server)
    page.screenshot(path=pictures / "view.png")

    parent, *_ = all_runs(MlflowClient(server))
    page.goto(f"{server}/#/experiments/{parent.info.experiment_id}/runs/{parent.info.run_id}")
    expect(page.get_by_role("link", name="Compare the trials")).to_be_visible()
    page.screenshot(path=pictures / "study.png")
    page.get_by_role("tab", name="Artifacts").click()
    for file, words in ARTIFACTS.items():
        expect_artifact(page, file, words)
        page.screenshot(path=pictures / f"{file}.png")


def searched(server: str) -> list[Run]:
    """The trials of the search."""
    runs = all_runs(MlflowClient(server))
    return [run for run in runs if run.data.tags["tl_study.kind"] == "trial"]


def best_first(server: str) -> list[str]:
    """Names of the trials, by their last validation log loss."""
    trials = searched(server)
    trials.sort(key=lambda run: run.data.metrics["val_log_loss"])
    return [str(run.info.run_name) for run in trials]


def expect_trials(page: Page, names: list[str]) -> None:
    """The table has these runs and no other, in this order."""
    assert len(names) == TRIALS
    for row, name in enumerate(names):
        cells = page.locator(f"[role=row][row-index='{row}']")
        expect(cells.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(page.get_by_text(f"{TRIALS} matching runs")).to_be_visible()


def expect_factors(page: Page, axes: list[str]) -> None:
    """The parallel coordinates have these axes, and lines between them."""
    chart = page.locator(".parcoords")
    expect(chart.locator(".label")).to_have_text(axes)
    expect(chart.locator(".label").last).to_be_visible()
    painted = "c => c.getContext('2d').getImageData(0, 0, c.width, c.height).data.some(x => x)"
    assert chart.locator("canvas.foreground").evaluate(painted)


def expect_curves(page: Page, metrics: list[str], server: str) -> None:
    """A chart for each metric, a curve for each trial."""
    # Each curve has a second trace without points, the one that smoothing leaves in place; but
    # one of a single epoch, where a trial was stopped, has its point in both.
    stopped = sum(run.data.tags["tl_study.status"] == "pruned" for run in searched(server))
    for metric in metrics:
        title = page.get_by_text(metric, exact=True)
        card = page.get_by_test_id("experiment-view-compare-runs-card").filter(has=title)
        expect(card.locator(".trace:has(.point)")).to_have_count(TRIALS + stopped)


def expect_artifact(page: Page, file: str, words: str) -> None:
    """The file opens; HTML does so in a frame of the page."""
    page.get_by_text(file, exact=True).first.click()
    end = time.monotonic() + LIMIT_S
    while not any(frame.get_by_text(words).count() for frame in page.frames):
        assert time.monotonic() < end, f"no {words!r} in {file}"
        page.wait_for_timeout(200)
