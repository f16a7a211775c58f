"""Ctrl-C and SIGTERM in a process of its own."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

from study import signals
from study.signals import (
    _end_in_time,
    _interrupts,
    interruptible,
    nobody_reads,
    outlast_readers,
    run_command,
    set_exit_message,
    uninterruptible,
)
from tests.support.study_fixtures import Capture, Patch
from tl_core.errors import InputError

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


def test_a_closed_terminal_interrupts_unless_nohup_has_it_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # The tests may run under nohup.
    try:
        with pytest.raises(KeyboardInterrupt), interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        with interruptible():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize(("numbers", "ended"), [
    ([signal.SIGHUP, signal.SIGHUP], False), ([signal.SIGINT, signal.SIGHUP], False),
    ([signal.SIGHUP, signal.SIGINT], True), ([signal.SIGWINCH, signal.SIGINT], False),
])  # fmt: skip
def test_the_shell_s_own_hang_up_is_no_second_signal(
    numbers: list[int], ended: bool, monkeypatch: Patch
) -> None:
    monkeypatch.setattr(signals, "_SAME_S", -1.0)
    monkeypatch.setattr(signals, "end_now", lambda: (_ for _ in ()).throw(SystemExit(130)))
    reader, writer = os.pipe()
    os.write(writer, bytes(numbers))
    os.close(writer)
    try:
        _end_in_time(reader)
        assert not ended
    except SystemExit:
        assert ended
    finally:
        os.close(reader)


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_output_that_nobody_reads_ends_nothing(stream: str, monkeypatch: Patch) -> None:
    reader, writer = os.pipe()
    with open(writer, "w", encoding="ascii", errors="replace") as pipe:  # noqa: PTH123
        monkeypatch.setattr(sys, stream, pipe)
        monkeypatch.setattr(sys, f"__{stream}__", pipe)
        outlast_readers()
        lasting = getattr(sys, stream)
        print("caf\xe9", file=lasting, flush=True)
        assert os.read(reader, 99) == b"caf?\n"
        os.close(reader)
        assert not nobody_reads()
        for _ in range(2):
            print("nobody reads this", file=lasting, flush=True)
        assert nobody_reads() == (stream == "stdout")


@pytest.mark.parametrize(("flush", "code", "expected"), [
    (True, 0, 4), (False, 0, 4), (True, 3, 3),
])  # fmt: skip
def test_output_onto_a_full_disk_ends_nothing_and_is_told_at_the_end(
    flush: bool, code: int, expected: int, monkeypatch: Patch, capsys: Capture
) -> None:
    done = []

    def work() -> int:
        for number in range(2):
            print("there is no room for this", flush=flush)
            done.append(number)
        # There may be room again.
        assert os.fstat(full.fileno()).st_rdev == os.stat("/dev/full").st_rdev  # noqa: PTH116
        assert not nobody_reads()
        return code

    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "__stdout__", full)
        assert run_command("no study", work) == expected
    why = "the output had no room on its disk: No space left on device; it has gaps\n"
    assert (done, capsys.readouterr().err) == ([0, 1], why if expected == 4 else "")


@pytest.mark.parametrize("name", ["run", "doctor", "report", "predict", "sync", "manifest"])
def test_help_that_a_full_disk_has_no_room_for_is_a_fault(
    name: str, monkeypatch: Patch, capsys: Capture
) -> None:
    main = import_module(f"study.{name}").main
    with open("/dev/full", "w", encoding="utf-8") as full:  # noqa: PTH123
        monkeypatch.setattr(sys, "stdout", full)
        monkeypatch.setattr(sys, "__stdout__", full)
        with pytest.raises(SystemExit) as exited:
            main(["--help"])
    assert exited.value.code == 4
    assert "the output had no room on its disk: " in capsys.readouterr().err


@pytest.mark.parametrize(("end", "code", "printed"), [
    (lambda: 4, 4, ""),
    (InputError(["a", "b"]), 2, "error: no study\n  a\n  b\n"),
    (KeyboardInterrupt(), 130, "stopped\n"),
    (KeyboardInterrupt("early"), 130, "interrupted\n"),
])  # fmt: skip
def test_exit_codes_of_a_command(
    end: Callable[[], int] | BaseException, code: int, printed: str, capsys: Capture
) -> None:
    def work() -> int:
        if printed == "stopped\n":
            set_exit_message("stopped")
        if isinstance(end, BaseException):
            raise end
        return end()

    set_exit_message("that of an earlier command")
    assert run_command("no study", work) == code
    assert capsys.readouterr().err == printed


_ENDS_SLOWLY = """
import os, sys, time
from study.signals import run_command

class Slow:
    def __del__(self, write=os.write, sleep=time.sleep):
        write(1, b"ending")
        sleep(0.5)

def work():
    raise KeyboardInterrupt

slow = Slow()
sys.exit(run_command("", work))
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_while_python_ends_leaves_the_exit_code_as_it_is(number: int) -> None:
    command = [sys.executable, "-c", _ENDS_SLOWLY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        assert process.stdout
        assert process.stdout.read(6) == b"ending"
        process.send_signal(number)
    assert process.returncode == 130
