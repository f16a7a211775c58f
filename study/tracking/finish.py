"""The end of a run, as far as MLflow goes: wait for it, tell what is left and where to look."""

import math
from pathlib import Path

from rich.console import Console

from study.config.settings import Settings
from study.config.uris import sync_command
from study.tracking.links import where_to_look
from study.tracking.sender import Sender, study_run
from study.tracking.sync_state import events_left
from tl_core.text import pluralize

_INTERRUPTED_S = 8.0
"""Longest wait of whoever has asked to stop."""


def end_sending(sender: Sender, folder: Path, console: Console, interrupted: bool = False) -> None:
    """Close a sender; while it sends, and if it leaves some, tell how much is left."""
    with console.status("waiting for MLflow") as status:

        def show(left: int) -> None:
            rest = pluralize(left, "event")
            status.update(f"waiting for MLflow: {rest} left (Ctrl-C leaves them for later)")

        why = sender.close(show, _INTERRUPTED_S if interrupted else math.inf)
    if why:
        n = events_left(folder)
        left = f"{pluralize(n, 'event is', 'events are')} not in MLflow yet ({why})"
        what = "it" if n == 1 else "them"
        console.print(f"warning: {left}; {sync_command(folder)} sends {what}", style="yellow")


def tell_where(sender: Sender, folder: Path, settings: Settings, console: Console) -> None:
    """Print where to look for the runs, or how to send them."""
    if settings.offline:
        console.print(f"nothing was sent to MLflow; {sync_command(folder)} sends it")
        return
    run = None if settings.debug else study_run(folder)
    console.print(where_to_look(settings.tracking_uri, sender.opened(), run))
