"""Progress of a study: a live panel in a terminal, one line a trial elsewhere."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from study.answers.phrases import seeds, show_rate, show_weight
from study.records.trial_record import ENDED, TrialRecord, best_of, modes_of
from study.search.cells import Cell
from tl_core.config import FROZEN, Metric, TrialConfig
from tl_core.text import pluralize

_RECENT = 8


class StudyDisplay:
    """Counts of trials done, running and failed, the best so far, and an ETA of the stage."""

    def __init__(
        self,
        trials: int,
        metric: Metric,
        console: Console,
        before: Sequence[TrialRecord] = (),
        planned: Mapping[Cell, float] | None = None,
    ) -> None:
        """Show so many `trials` of the search; trials of runs `before` can only be the best.

        `planned` is how many trials each cell of the search has, with those of runs before.
        """
        self._trials = trials
        self._before = {r.trial for r in before}
        self._records: list[TrialRecord] = []
        self._over = set(self._before)
        """Trials of earlier runs and stages."""
        self._stage = ""
        self._confirming: Sequence[TrialConfig] = ()
        self._at_once = 1
        self._metric = metric
        self._console = console
        self._planned = planned or {}
        self._bar = Progress(BarColumn(60), MofNCompleteColumn(), TimeElapsedColumn())
        self._task = self._bar.add_task("trials", total=trials)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)

    def __enter__(self) -> "StudyDisplay":
        if self._console.is_terminal:
            self._live.update(Spinner("dots", "starting Ray and its workers"))
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def show(self, records: list[TrialRecord], ended: TrialRecord | None) -> None:
        """Update the panel; elsewhere print a line when a trial has ended."""
        self._records = records
        if self._console.is_terminal:
            self._live.update(self._panel(records))
        elif ended:
            line = f"{describe(ended, self._metric)}  |  {self._summary(records)}"
            self._console.print(line, highlight=False)

    def warn(self, text: str) -> None:
        """Print it, above the panel if there is one."""
        self._console.print(f"warning: {text}", style="yellow")

    def confirm(self, stage: str, planned: Sequence[TrialConfig]) -> None:
        """Show the trials of a stage after the search from now on."""
        self._over |= {r.trial for r in self._records if r.status in ENDED}
        self._stage, self._confirming = stage, planned
        self._bar.reset(self._task, total=len(planned))
        if planned and not self._console.is_terminal:  # Its first trial may take long.
            left, n = self._eta(self._records, 0), pluralize(len(planned), "trial")
            self._console.print(f"{stage}: {n}, ETA of this stage {left}", highlight=False)

    def _panel(self, records: list[TrialRecord]) -> Group:
        table = Table("trial", "mode", "ratio", "lr", "aux_weight", "epoch", self._metric, "status")
        running = [r for r in records if r.status == "running"]
        ended = [r for r in records if r.status in ENDED and r.trial not in self._before]
        for r in ended[max(0, len(ended) + len(running) - _RECENT) :] + running:
            table.add_row(*_cells(r, self._metric))
        self._bar.update(self._task, completed=sum(r.status in ENDED for r in self._here(records)))
        return Group(table, self._bar, Text(self._summary(records)))

    def _summary(self, records: list[TrialRecord]) -> str:
        searching = not self._confirming
        total = self._trials if searching else len(self._confirming)
        counts = Counter(r.status for r in self._here(records))
        self._at_once = max(self._at_once, _places(self._here(records)))
        pruned = f" + {counts['pruned']} pruned" if counts["pruned"] else ""
        return (
            f"{'' if searching else f'{self._stage}: '}{counts['done']}{pruned} of {total} done, "
            f"{counts['running']} running, {counts['failed']} failed, "
            f"ETA of this stage {self._eta(records, sum(counts[status] for status in ENDED))}, "
            f"{self._best(records)}"
        )

    def _here(self, records: list[TrialRecord]) -> list[TrialRecord]:
        """The trials of this stage: the search, or one that follows it."""
        new = [r for r in records if r.trial not in self._over]
        return [r for r in new if (r.kind == "search") != bool(self._confirming)]

    def _best(self, records: list[TrialRecord]) -> str:
        best = best_of(records, self._metric)
        if best is None:
            return "no best yet"
        return f"best {self._metric} {best.value(self._metric):.4f} (trial {best.trial})"

    def _eta(self, records: list[TrialRecord], ended: int) -> str:
        left: float | None
        if self._confirming:  # The trials are known, and take as long as in the search.
            here = self._here(records)
            left = seconds_left(self._confirming, here, records, self._at_once)
        else:
            left = search_left(self._planned, records, self._trials - ended, self._at_once)
        return "unknown" if left is None else str(timedelta(seconds=round(left)))


def _places(records: list[TrialRecord]) -> int:
    """How many places have work; frozen trials that are computed together have one."""
    running = [r.config.mode in FROZEN for r in records if r.status == "running"]
    return running.count(False) + any(running)


def describe(record: TrialRecord, metric: Metric) -> str:
    """One line on a trial: its factors, and how it ended."""
    c = record.config
    value = record.value(metric)
    result = f"{metric} {value:.4f}" if value is not None else ""
    if record.test:
        result += f", test accuracy {record.test['test_accuracy']:.3f} ({seeds(c.seeds)})"
    result += " after " * bool(result) + pluralize(len(record.history), "epoch")
    why = f" ({record.error})" if record.error else ""
    factors = [c.mode, f"train_ratio={c.train_ratio:g}", show_rate(record, between="=")]
    factors += [] if c.unfreeze is None else [f"unfreeze={c.unfreeze}"]
    factors += [] if c.mode == "probe" else [f"aux_weight={show_weight(c.aux_weight)}"]
    shown = " ".join(filter(None, factors))
    return f"trial {record.trial}: {shown}: {result}, {record.status}{why}"


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


def best_table(records: list[TrialRecord], metric: Metric) -> Table:
    """The best trial of the search of each mode at each ratio."""
    modes = modes_of(records)
    table = Table("train_ratio", *modes, title=f"best {metric} of the search (trial)")
    for ratio in sorted({r.config.train_ratio for r in records}):
        here = [r for r in records if r.config.train_ratio == ratio]
        bests = [best_of([r for r in here if r.config.mode == mode], metric) for mode in modes]
        cells = [f"{b.value(metric):.4f} ({b.trial})" if b else "none" for b in bests]
        table.add_row(f"{ratio:g}", *cells)
    return table


def seconds_left(
    planned: Sequence[TrialConfig],
    started: Sequence[TrialRecord],
    known: Sequence[TrialRecord],
    at_once: int,
) -> float:
    """Estimate the seconds until all `planned` trials have ended, if so many run `at_once`.

    A trial is expected to take as long as the last one of its mode at the nearest ratio. `started`
    are planned trials that run or have run, and count by their epochs; `known` are all trials.
    """
    of = {r.config: r for r in started}
    costs = [_expected(Cell.of(config), known) * _share_left(of.get(config)) for config in planned]
    return sum(costs) / max(1, at_once)


def search_left(
    planned: Mapping[Cell, float], records: Sequence[TrialRecord], trials: int, at_once: int
) -> float | None:
    """Estimate the seconds until so many more `trials` of the search have ended.

    They are shared among the cells as `planned`, less what has ended there. A frozen trial says
    nothing of a network: None until a trial has ended of each mode that has some left.
    """
    search = [r for r in records if r.kind == "search"]
    ended = Counter(Cell.of(r.config) for r in search if r.status in ENDED)
    left = {cell: n - ended[cell] for cell, n in planned.items() if n > ended[cell]}
    done = {r.config.mode for r in search if r.status == "done"}
    if trials <= 0:
        return 0.0
    if not left or not {cell.mode for cell in left} <= done:
        return None
    running = [r for r in search if r.status == "running"]
    seconds = sum(n * _expected(cell, search) for cell, n in left.items())
    seconds *= trials / sum(left.values())  # A joint search does not go evenly.
    seconds -= sum(_expected(Cell.of(r.config), search) * (1 - _share_left(r)) for r in running)
    return max(0.0, seconds) / max(1, at_once)


def _expected(cell: Cell, known: Sequence[TrialRecord]) -> float:
    """Seconds of the last trial of its mode at the nearest ratio; 0 if there is none."""

    def distance(record: TrialRecord) -> float:
        return abs(math.log(record.config.train_ratio / cell.train_ratio))

    like = [r for r in reversed(known) if r.status == "done" and r.config.mode == cell.mode]
    return min(like, key=distance).wall_s if like else 0.0


def _share_left(record: TrialRecord | None) -> float:
    if record is None:
        return 1.0
    return 0.0 if record.status in ENDED else 1 - len(record.history) / record.config.epochs
