"""Ctrl-C and SIGTERM in a process of its own."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from study.signals import _interrupts, interruptible, uninterruptible

ROOT = str(Path(__file__).parents[2])
STUCK = """
import sys, time
from study import signals as interrupts
interrupts.PATIENCE_S = float(sys.argv[1])
with interrupts.interruptible():
    interrupts.set_exit_message("resume with: that")
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        print("ending", flush=True)
        time.sleep(60)
"""


def start(patience_s: float) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK, str(patience_s)], text=True, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": ROOT},
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_does_not_end_in_time_is_ended(number: signal.Signals) -> None:
    process = start(0.5)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=30)
    assert (process.returncode, printed, errors) == (130, "ending\n", "resume with: that\n")


def test_a_second_signal_ends_at_once() -> None:
    process = start(3600)
    process.send_signal(signal.SIGINT)
    assert process.stdout is not None
    assert process.stdout.readline() == "ending\n"
    while process.poll() is None:  # What comes at once after the first is the same.
        process.send_signal(signal.SIGINT)
        try:
            process.wait(0.1)
        except subprocess.TimeoutExpired:
            continue
    assert process.communicate()[1] == "resume with: that\n"
    assert process.returncode == 130


def test_an_interrupt_waits_for_an_uninterruptible_function() -> None:
    done = []

    @uninterruptible
    def write() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        done.append("one")
        inner()
        done.append("two")

    @uninterruptible
    def inner() -> None:
        done.append("inner")

    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with interruptible():
        assert signal.getsignal(signal.SIGINT) == _interrupts.handle
        with pytest.raises(KeyboardInterrupt):
            write()
    assert done == ["one", "inner", "two"]
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
