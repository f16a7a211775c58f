"""tl-study's command line: `python study/run.py`."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.config.command_line import parse
from study.errors import print_faults
from study.preflight.checks import QUICK, run_checks
from study.preflight.resume import FinishedError, continued_setup, find_replay
from study.preflight.setup import Setup, new_setup
from study.records.ledger import OUT_OF_TIME
from study.records.study_folder import how_to_resume
from study.signals import interruptible, run_command, set_exit_message
from tl_core.errors import OutOfTimeError

_AGAIN = "the same command begins again, with what is in the cache by now"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2, 3, 4, 5 or 130."""
    # Paths and reasons may hold brackets and colons: they are no markup.
    console = Console(soft_wrap=True, markup=False, emoji=False)
    return run_command("the study can't start", lambda: _run(parse(argv), console))


def _run(given: Mapping[str, Any], console: Console) -> int:
    try:
        with interruptible():
            return _start(given, console)
    except FinishedError as finished:
        console.print(str(finished), highlight=False)
        return 0
    except OutOfTimeError as over:  # Before the first trial.
        from study.execution.run_study import EXIT_CODES

        print_faults("out of time", [str(over)])
        return EXIT_CODES[OUT_OF_TIME]


def _start(given: Mapping[str, Any], console: Console) -> int:
    if "replay" in given:
        replay = find_replay(given)
        from study.execution.replay import run_replay  # It imports torch.
        from study.preflight.prepare import prepare_replay

        return run_replay(replay, prepare_replay(replay), console)
    if "resume" in given:
        setup = continued_setup(given)
        set_exit_message(how_to_resume(setup.folder))
    else:
        setup = continued_setup(given) if "extend" in given else new_setup(given)
        then = "the study is as it was" if "extend" in given else "there is no study yet"
        set_exit_message(f"interrupted before the first trial; {then}: {_AGAIN}")
    run_checks(setup, QUICK)
    setup.raise_faults()
    return _run_study(setup, console)


def _run_study(setup: Setup, console: Console) -> int:
    from study.tracking.sender import make_sender
    from tl_core.runtime import keep_freed_memory, name_user, rarely_collecting

    keep_freed_memory()
    name_user()
    # Its process imports MLflow beside the imports here; it opens the store once nothing is wrong.
    sender = make_sender(setup.settings)
    try:
        with rarely_collecting():
            # This imports torch: a wrong setting, or --help, need not wait for it.
            from study.preflight.prepare import prepare

            prepared = prepare(setup)
            from study.diagnosis.first_line import first_line

            console.print(prepared.introduce(), highlight=False)
            for line in first_line(prepared):
                console.print(line, highlight=False)
            for note in prepared.notes:
                console.print(f"note: {note}")
            if prepared.settings.debug:
                from study.execution.single_trial import run_debug as run
            else:
                from study.execution.run_study import run_study as run
        sender.open_store()
    except BaseException:
        sender.close()
        raise
    return run(prepared, console, sender)


if __name__ == "__main__":
    sys.exit(main())
