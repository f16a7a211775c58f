"""Progress of a study: a live panel in a terminal, one line a trial elsewhere."""

from collections import Counter
from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from study.answers.phrases import show_number, show_rate, show_weight
from study.diagnosis.remaining import Remaining
from study.records.trial_record import Status, Trial, TrialRecord, best_of
from study.records.watch import Watch
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
        self._watch = Watch(remaining.expected.records)
        _, before = self._watch.update()
        self._best = best_of(before, self._metric)
        self._counts = Counter[Status]()
        """How many trials of this stage have ended how."""
        self._recent: list[TrialRecord] = []
        """The last that have ended, by number."""
        self._running: list[TrialRecord] = []
        self._stage = ""
        """The name of a stage after the search."""
        self._total = remaining.settings.trials - sum(r.kind == "search" for r in before)
        self._bar = Progress(BarColumn(30), MofNCompleteColumn(), TimeElapsedColumn())
        self._task = self._bar.add_task("trials", total=self._total)
        self._spinner = Spinner("dots", "starting the first trials")
        self._shown = False
        """Whether there is anything to show but the spinner."""
        self._live = Live(
            console=console, refresh_per_second=4, transient=True, get_renderable=self._render
        )

    def __enter__(self) -> "StudyDisplay":
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, ended: TrialRecord | None) -> None:
        """Hear of a change, which the panel shows soon; elsewhere print a trial that has ended."""
        if not (self._console.is_terminal or ended):
            return
        self._remaining.update()
        self._count()
        self._shown = True
        if ended and not self._console.is_terminal:
            told = f"{self._count_line()}; {self._best_line()}; {self._remaining.left()}"
            line = f"{describe(ended, self._metric)}  |  {told}"
            self._console.print(line, highlight=False)

    def warn(self, text: str) -> None:
        """Print it, above the panel if there is one."""
        self._console.print(f"warning: {text}", style="yellow")

    def confirm(self, stage: str, planned: Sequence[Trial]) -> None:
        """Show the trials of a stage after the search from now on."""
        self._count()
        self._counts.clear()
        self._stage, self._total = stage, len(planned)
        self._bar.reset(self._task, total=len(planned))
        self._remaining.begin(planned)
        if planned and not self._console.is_terminal:  # Its first trial may take long.
            n = pluralize(len(planned), "trial")
            self._console.print(f"{stage}: {n}; {self._remaining.left()}", highlight=False)

    def _count(self) -> None:
        """Count what has ended, and note what runs."""
        _, ended = self._watch.update()
        self._counts.update(r.status for r in ended if self._is_here(r))
        self._recent = sorted([*self._recent, *ended], key=lambda r: r.trial)[-_RECENT:]
        self._best = best_of([*filter(None, [self._best]), *ended], self._metric)
        self._running = [r for r in self._watch.open if r.status == "running"]

    def _is_here(self, record: TrialRecord) -> bool:
        """Whether it is of this stage: the search, or one that follows it."""
        return (record.kind != "search") == bool(self._stage)

    def _render(self) -> RenderableType:
        """The panel by now: what runs and the last that ended, how many there are, and the best.

        Rich calls it a few times a second, in a thread of its own; trials may change more often.
        """
        if not self._shown:
            return self._spinner
        running, rows = self._running, max(1, self._console.height - _OTHER_LINES)
        n_ended = max(0, min(rows, _RECENT) - len(running))
        ended = self._recent[max(0, len(self._recent) - n_ended) :]
        table = trial_table([*ended, *running[:rows]], self._metric, self._console.width)
        hidden = len(running) - rows
        more = [Text(f"and {pluralize(hidden, 'more trial')} running")] if hidden > 0 else []
        self._bar.update(self._task, completed=self._counts.total())
        lines = self._count_line(), self._best_line(), str(self._remaining.left())
        return Group(table, *more, self._bar, *map(_wrapped, lines))

    def _count_line(self) -> str:
        counts, running = self._counts, sum(map(self._is_here, self._running))
        pruned = f" + {counts['pruned']} pruned" if counts["pruned"] else ""
        return (
            f"{self._stage or 'search'}: {counts['done']}{pruned} of {self._total} done, "
            f"{running} running, {counts['failed']} failed"
        )

    def _best_line(self) -> str:
        if self._best is None:
            return "no best yet"
        value = show_number(self._best.value(self._metric))
        return f"best {self._metric} {value} (trial {self._best.trial})"


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
    style = {"failed": "red", "done": "green", "pruned": "dim"}
    return [
        str(record.trial),
        c.mode,
        f"{c.train_ratio:g}",
        show_rate(record).removeprefix("lr "),
        show_weight(c.aux_weight),
        f"{len(record.history)}/{c.epochs}",
        show_number(record.value(metric)),
        Text(record.status, style.get(record.status, "")),
    ]
