"""Progress of a study: a live panel in a terminal, one line a trial elsewhere."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from study.answers.phrases import show_rate, show_weight
from study.diagnosis.remaining import Remaining
from study.records.trial_record import ENDED, Trial, TrialRecord, best_of
from study.reporting.summary import describe
from tl_core.config import Metric
from tl_core.text import pluralize

_RECENT = 8
"""Trials that the panel shows; more if more run."""
_OTHER_LINES = 14
"""Most lines of the panel beside those of trials: on a terminal without room for them rich leaves
out the last ones, which say most."""
_WIDE = 80
"""Columns of a terminal that all columns of the table fit into."""


class StudyDisplay:
    """Counts of trials done, running and failed, the best so far, and the time that is left."""

    def __init__(self, remaining: Remaining, console: Console) -> None:
        """Show a study that begins or goes on; trials of earlier runs can only be the best.

        Args:
            remaining: of the study, which has the trials of earlier runs.
            console: where to.
        """
        self._remaining, self._console = remaining, console
        self._metric = remaining.settings.metric
        before = [r for r in remaining.records if r.status in ENDED]
        self._before = {r.trial for r in before}
        self._records: list[TrialRecord] = []
        self._over = set(self._before)
        """Trials of earlier runs and stages."""
        self._stage = ""
        """The name of a stage after the search."""
        self._total = remaining.settings.trials - sum(r.kind == "search" for r in before)
        self._bar = Progress(BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        self._task = self._bar.add_task("trials", total=self._total)
        self._panel: RenderableType = Spinner("dots", "starting the first trials")
        self._live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=self._render
        )

    def __enter__(self) -> "StudyDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        """Update the panel; elsewhere print a line when a trial has ended."""
        self._records = records
        if not (self._console.is_terminal or ended):
            return
        self._remaining.update()
        if self._console.is_terminal:
            self._panel = self._trials(records)
        elif ended:
            told = f"{self._counts(records)}; {self._best(records)}; {self._remaining.left()}"
            line = f"{describe(ended, self._metric)}  |  {told}"
            self._console.print(line, highlight=False)

    def warn(self, text: str) -> None:
        """Print it, above the panel if there is one."""
        self._console.print(f"warning: {text}", style="yellow")

    def confirm(self, stage: str, planned: Sequence[Trial]) -> None:
        """Show the trials of a stage after the search from now on."""
        self._over |= {r.trial for r in self._records if r.status in ENDED}
        self._stage, self._total = stage, len(planned)
        self._bar.reset(self._task, total=len(planned))
        self._remaining.begin(planned)
        if planned and not self._console.is_terminal:  # Its first trial may take long.
            self._remaining.update()
            n = pluralize(len(planned), "trial")
            self._console.print(f"{stage}: {n}; {self._remaining.left()}", highlight=False)

    def _render(self) -> RenderableType:
        """The panel with the time that is left by now."""
        if isinstance(self._panel, Spinner):
            return self._panel
        return Group(self._panel, _wrapped(str(self._remaining.left())))

    def _trials(self, records: list[TrialRecord]) -> Group:
        """The trials that run and the last that have ended, how many there are, and the best."""
        running = [r for r in records if r.status == "running"]
        ended = [r for r in records if r.status in ENDED and r.trial not in self._before]
        rows = max(1, self._console.height - _OTHER_LINES)
        ended = ended[max(0, len(ended) + len(running) - min(rows, _RECENT)) :]
        table = trial_table([*ended, *running[:rows]], self._metric, self._console.width)
        hidden = len(running) - rows
        more = [Text(f"and {pluralize(hidden, 'more trial')} running")] if hidden > 0 else []
        self._bar.update(self._task, completed=sum(r.status in ENDED for r in self._here(records)))
        told = map(_wrapped, (self._counts(records), self._best(records)))
        return Group(table, *more, self._bar, *told)

    def _counts(self, records: list[TrialRecord]) -> str:
        counts = Counter(r.status for r in self._here(records))
        pruned = f" + {counts['pruned']} pruned" if counts["pruned"] else ""
        return (
            f"{self._stage or 'search'}: {counts['done']}{pruned} of {self._total} done, "
            f"{counts['running']} running, {counts['failed']} failed"
        )

    def _here(self, records: list[TrialRecord]) -> list[TrialRecord]:
        """The trials of this stage: the search, or one that follows it."""
        new = [r for r in records if r.trial not in self._over]
        return [r for r in new if (r.kind == "search") != bool(self._stage)]

    def _best(self, records: list[TrialRecord]) -> str:
        best = best_of(records, self._metric)
        if best is None:
            return "no best yet"
        return f"best {self._metric} {best.value(self._metric):.4f} (trial {best.trial})"


def trial_table(records: Sequence[TrialRecord], metric: Metric, width: int) -> Table:
    """A row for each trial, on a terminal of so many columns; a narrow one shows less of each."""
    columns = ["trial", "mode", "ratio", "lr", "aux_weight", "epoch", metric, "status"]
    shown = [c for c in columns if width >= _WIDE or c not in ("lr", "aux_weight")]
    table = Table()
    for column in shown:
        table.add_column(column.replace("_", "\n"), overflow="fold")
    for record in records:
        cells = dict(zip(columns, _cells(record, metric), strict=True))
        table.add_row(*(cells[column] for column in shown))
    return table


def _wrapped(line: str) -> Text:
    """A line of the panel, which rich would cut off: the console of a study breaks none."""
    return Text(line, no_wrap=False, overflow="fold")


def _cells(record: TrialRecord, metric: Metric) -> list[str | Text]:
    c = record.config
    value = record.value(metric)
    style = {"failed": "red", "done": "green", "pruned": "dim"}
    return [
        str(record.trial),
        c.mode,
        f"{c.train_ratio:g}",
        show_rate(record).removeprefix("lr "),
        show_weight(c.aux_weight),
        f"{len(record.history)}/{c.epochs}",
        f"{value:.4f}" if value is not None else "",
        Text(record.status, style.get(record.status, "")),
    ]
