"""Processes and threads of a call beside the first; processes are not forks of it."""

import contextlib
import importlib
import multiprocessing
import multiprocessing.forkserver
import os
import signal
import threading
from collections.abc import Sequence

METHOD = 'forkserver'
"""A fork of a process in which torch or CUDA has started threads can hang."""

WARM = (
    'torch',
    'SimpleITK',
    'secondglance.pipelines.execution.job',
    'secondglance.models.donors',
    'secondglance.models.second_glance.volume',
    'secondglance.reports.render',
)
"""What every process that segments imports: the server of processes does so once for all. Nothing
of it runs there, so no thread is lost in a fork."""


def available_cores() -> int:
    """Count the cores that are ours: of a Slurm job those that it asked for."""
    return int(os.environ.get('SLURM_CPUS_PER_TASK') or len(os.sched_getaffinity(0)))


def start_server(preload: Sequence[str] = ()) -> None:
    """Start the process that others are forked from, which leaves Ctrl-C to this one.

    A terminal sends Ctrl-C to all processes of a call: each would print a traceback. All end when
    this process does, even if it is killed.

    Parameters
    ----------
    preload : sequence of str
        Modules to import once.
    """
    modules = ['secondglance.pipelines.execution.end_with_parent', *preload]
    multiprocessing.get_context(METHOD).set_forkserver_preload(modules)
    if threading.current_thread() is not threading.main_thread():
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        multiprocessing.forkserver.ensure_running()
    finally:
        signal.signal(signal.SIGINT, before)


def import_aside(modules: Sequence[str]) -> threading.Thread:
    """Import modules in a thread, while the first stages work: torch alone takes a second.

    Whoever needs one before it is there waits for it, and is told what is wrong with it.

    Parameters
    ----------
    modules : sequence of str

    Returns
    -------
    threading.Thread
        The call ends without waiting for it.
    """

    def run() -> None:
        for name in modules:
            with contextlib.suppress(Exception):
                importlib.import_module(name)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread
