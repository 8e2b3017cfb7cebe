"""Termination of a call by a signal: its other processes first, then itself."""

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

STOPPED = 'secondglance: stopped; the same call goes on from here.'

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

LONGEST_SECONDS = 3.0
"""What still runs so long after a signal is left where it is."""


class Stop:
    """Whether this process received a signal to stop.

    Attributes
    ----------
    code : int
        Exit code, as a shell gives it: 143 for TERM, 130 for Ctrl-C; 0 where nothing was told.
    """

    code = 0


@contextlib.contextmanager
def stopping() -> Iterator[Stop]:
    """Raise `KeyboardInterrupt` at the first signal to stop, all processes below being ended.

    Only for a process that is all ours: no process below it is spared, and nothing is printed
    after the sentence that says how to go on. A signal that is ignored already, as HUP by
    ``nohup``, stays so. The system spares the first process of a container unless it asks for
    signals, as this does.

    Yields
    ------
    Stop
        Its code is to be the exit code, whatever became of the exception on its way.
    """
    told = Stop()

    def stop(number: int, frame: FrameType | None) -> None:
        told.code = 128 + number
        # A second signal ends at once
        for other in taken:
            signal.signal(other, signal.SIG_DFL)
        watchdog = threading.Timer(LONGEST_SECONDS, os._exit, [told.code])
        watchdog.daemon = True
        watchdog.start()
        _say_last()
        end_descendants()
        raise KeyboardInterrupt

    taken = {number: signal.getsignal(number) for number in SIGNALS}
    taken = {number: before for number, before in taken.items() if before != signal.SIG_IGN}
    for number in taken:
        signal.signal(number, stop)
    try:
        yield told
    finally:
        for number, before in taken.items():
            if signal.getsignal(number) is stop:
                signal.signal(number, before)


def leave(code: int) -> NoReturn:
    """End this process, and all below it, at once: large libraries take seconds to be unloaded.

    Workers that a failure left idle are no longer told to end by the interpreter, which would
    wait for them.

    Parameters
    ----------
    code : int
        Exit code.
    """
    with contextlib.suppress(Exception):
        end_descendants()
        # Temporary folders are removed
        atexit._run_exitfuncs()
    os._exit(code)


def end_descendants() -> None:
    """Kill every process below this one; what they write appears whole or not at all.

    The tracker of what Python's processes share is spared: it ends with this one, in silence.
    """
    trackers = sys.modules.get('multiprocessing.resource_tracker')
    tracker = trackers._resource_tracker._pid if trackers else None
    halted: set[int] = set()
    # Halted first: a server of processes that is killed alone leaves its newest to nobody
    while new := set(descendants(os.getpid())) - {tracker} - halted:
        for pid in new:
            _send(pid, signal.SIGSTOP)
        halted |= new
    for pid in halted:
        _send(pid, signal.SIGKILL)
    end = time.monotonic() + LONGEST_SECONDS / 2
    while any(status_of(pid) for pid in halted) and time.monotonic() < end:
        time.sleep(0.01)


def descendants(pid: int) -> list[int]:
    """List the processes below one, parents first, as far as they still run."""
    children: dict[int, list[int]] = {}
    for path in Path('/proc').glob('[0-9]*'):
        if status := status_of(int(path.name)):
            children.setdefault(status[0], []).append(int(path.name))
    found = list(children.get(pid, []))
    for other in found:
        found += children.get(other, [])
    return found


def status_of(pid: int) -> list[int]:
    """Parent and group of a process that runs; nothing of one that has ended."""
    try:
        state, *numbers = Path(f'/proc/{pid}/stat').read_text().rpartition(')')[2].split()[:3]
    except OSError:
        return []
    return [] if state in 'ZX' else [int(number) for number in numbers]


def _send(pid: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)


def _say_last() -> None:
    """Print how to go on; what is printed afterwards, of what breaks off, goes nowhere."""
    # In a terminal: below a progress bar, which has hidden the cursor
    before = '\x1b[?25h\n' if os.isatty(2) else ''
    with contextlib.suppress(OSError):
        os.write(2, f'{before}{STOPPED}\n'.encode())
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
