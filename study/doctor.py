"""Checks what a study needs, and estimates how long it will take: `python study/doctor.py`."""

import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

if not __package__:  # Run as a script: other packages may be called `study`.
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from study.cluster.ray_environment import set_ray_environment
from study.config.command_line import parse, settings_parser
from study.diagnosis.stages import Stages
from study.errors import fault_code
from study.preflight.checks import run_checks
from study.preflight.setup import new_setup
from study.signals import interruptible, run_command
from tl_core.runtime import name_user
from tl_core.text import printable

_ABOUT = """\
Checks all that a study with these flags needs, on this machine or on every node of a cluster, and
lists every fault. Without faults, it measures how fast trials are there, and estimates how long the
study will take. It leaves nothing behind but weights that it had to download and, with --compile,
what was compiled, in the cache."""
_EXAMPLES = """\
examples:
  python study/doctor.py                                  the small study on drawn cats and dogs
  python study/doctor.py --data ./cat_dog --gpus 4
  python study/doctor.py --data ./cat_dog --address auto --storage s3://BUCKET/PATH

exit codes: 0 the study can start, 2 it can't (every fault is listed),
4 no room for the output, 130 interrupted"""
_TITLE = "the study can't start"
_STARTED = time.monotonic()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0, 2, 4 or 130."""
    parser = settings_parser("study/doctor.py", _ABOUT, _EXAMPLES)
    return run_command(_TITLE, lambda: _run(parse(argv, parser)))


@interruptible()
def _run(given: Mapping[str, Any]) -> int:
    # Paths and reasons may hold brackets and colons: they are no markup.
    console = Console(markup=False, emoji=False, highlight=False)
    setup = new_setup(given)
    setup.doctor = True
    if any(fault.flag == "--address" for fault in setup.setting_faults):  # No machines to check.
        return fault_code(_TITLE, setup.setting_faults)
    for fault in setup.setting_faults:  # The checks take a while, and may find more.
        console.print(printable(str(fault)), style="red", soft_wrap=True)
    name_user()
    with Stages(console, _STARTED) as stages:
        stages.begin("importing torch and Ray")
        set_ray_environment(own=setup.settings.address == "local")
        import ray

        from study.diagnosis.forecast import print_forecast
        from study.diagnosis.tables import check_table, node_table
        from study.preflight.prepare import doctor_notes
        from study.preflight.torch_checks import CHECKS

        try:
            run_checks(setup, CHECKS, stages.begin)
            if setup.nodes:
                console.print(node_table(setup))
            console.print(check_table(setup))
            for note in doctor_notes(setup):
                console.print(f"note: {note}", soft_wrap=True)
            print_forecast(setup, console, stages)
        finally:
            ray.shutdown()  # Of a cluster that was joined.
    if not setup.faults:
        console.print("the study can start", style="green")
    return fault_code(_TITLE, setup.faults)


if __name__ == "__main__":
    sys.exit(main())
