"""The end of a run: wait for MLflow, print what was not sent and where to look."""

import math
from pathlib import Path

from rich.console import Console

from study.config.settings import Settings
from study.config.uris import sync_command
from study.tracking.links import where_to_look
from study.tracking.sender import Sender
from study.tracking.sync_state import events_left, study_run
from tl_core.text import pluralize

_INTERRUPTED_S = 8.0
"""Longest wait after the user has interrupted the study."""


def close_sender(sender: Sender, folder: Path, console: Console, interrupted: bool = False) -> None:
    """Close a sender; show how much is left, and warn if something stays unsent."""
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


def print_link(sender: Sender, folder: Path, settings: Settings, console: Console) -> None:
    """Print where to look at the runs, or how to send them."""
    if settings.offline:
        console.print(f"nothing was sent to MLflow; {sync_command(folder)} sends it")
        return
    run = None if settings.debug else study_run(folder)
    console.print(where_to_look(settings.tracking_uri, sender.wait_for_store(), run))
