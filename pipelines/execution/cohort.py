"""Many scans at once: one Pydra task a scan, each running that scan's own graph.

Pydra is known in this module, and in `secondglance.pipelines.execution.tasks`, alone.
"""

import asyncio
import contextlib
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from secondglance.imaging.errors import InputError
from secondglance.pipelines.execution.environment import ASKS_NO_NETWORK, environment
from secondglance.pipelines.execution.job import for_attempt, run_job
from secondglance.pipelines.execution.processes import METHOD, WARM, start_server
from secondglance.pipelines.execution.scan_jobs import ScanJob
from secondglance.reports.scan_result import ScanResult

if TYPE_CHECKING:
    from pydra import Submitter
    from pydra.engine.task import FunctionTask
    from pydra.engine.workers import Worker

_T = TypeVar('_T')

LOCAL_WORKERS = ('cf', 'serial')
"""Workers that run on this machine; all others hand tasks to a batch system."""


UNQUOTED = ('slurm', 'sge')
"""Workers for which Pydra's scripts name Python without quotation marks."""

MOST_SUBMITTED = 200
"""Tasks that a batch system is given at a time, unless the worker's arguments say otherwise."""

CANCEL = {'slurm': 'scancel', 'sge': 'qdel'}
"""Workers with jobs that go on when this process ends, and the command that ends them."""

_CANCEL_SECONDS = 2.0
"""How long a batch system is waited for where this process is to end."""


def run_cohort(
    jobs: Sequence[ScanJob],
    *,
    worker: str = 'cf',
    at_once: int = 1,
    worker_args: dict | None = None,
    told: Callable[[ScanResult], None] = lambda outcome: None,
) -> list[ScanResult]:
    """Run scans in parallel; a failed one does not stop the others.

    An event loop that the caller has, as a notebook does, is neither used nor closed. At an
    interrupt nothing more is started, and jobs of Slurm and SGE are cancelled.

    Parameters
    ----------
    jobs : sequence of ScanJob
    worker : str
        Pydra's: ``cf`` on this machine, or ``slurm``, ``sge``, ``dask``, ``psij-slurm``, …
    at_once : int
        Scans at a time on this machine.
    worker_args : dict, optional
        Of the worker, such as ``{'sbatch_args': '--mem=4G'}``; ``max_jobs`` limits how many are
        given to a batch system at a time.
    told : callable
        Told each outcome as it comes.

    Returns
    -------
    list of ScanResult
        In the order of `jobs`.

    Raises
    ------
    InputError
        If there is no such worker, it does not know an argument, or it cannot start this Python.
    """
    check_worker(worker, worker_args)
    if worker == 'cf':
        start_server(WARM)
    arguments = dict(worker_args or {})
    local = worker in LOCAL_WORKERS
    most = at_once if local else int(arguments.pop('max_jobs', MOST_SUBMITTED))
    # Tasks and results pass through files, which the machines of a batch system must share
    shared = Path(jobs[0].work_dir)
    shared.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix='cohort-', dir=shared))
    try:
        outcomes = _round(jobs, worker, most, arguments, folder / 'all', told)
        # A killed process breaks the whole pool: find the scan that it ran
        for index, outcome in enumerate(outcomes):
            if outcome is None:
                alone = _round([jobs[index]], worker, 1, arguments, folder / str(index), told)
                outcomes[index] = alone[0] or _killed(jobs[index], told)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return [outcome for outcome in outcomes if outcome is not None]


def _killed(job: ScanJob, told: Callable[[ScanResult], None]) -> ScanResult:
    outcome = ScanResult(
        job.scan.name,
        'failed',
        reason='Its process was killed, most likely because memory ran out: give fewer --nprocs.',
    )
    told(outcome)
    return outcome


def _round(
    jobs: Sequence[ScanJob],
    worker: str,
    most: int,
    arguments: dict,
    folder: Path,
    told: Callable[[ScanResult], None],
) -> list[ScanResult | None]:
    """Run each job once; None where its process, or the pool it was in, was killed."""
    pydra = load_pydra()
    submitter = _elsewhere(lambda: _submitter(pydra, worker, most, arguments))
    tasks = [
        _segment(pydra)(name=f'scan{index}', job=job, cache_dir=folder)
        for index, job in enumerate(jobs)
    ]

    stopped: list[str] = []

    async def one(index: int, gate: asyncio.Semaphore) -> ScanResult | None:
        name = jobs[index].scan.name
        async with gate:
            if stopped:
                outcome = ScanResult(
                    name, 'failed', reason='Not started: another failed before it.'
                )
                told(outcome)
                return outcome
            try:
                await submitter.submit_from_call(tasks[index], False, None)
                outcome = tasks[index].result().output.out
            except BrokenProcessPool:
                return None
            except Exception as error:
                reason = ' '.join(str(error).split()) or type(error).__name__
                outcome = ScanResult(name, 'failed', reason=f'Its task was lost ({reason}).')
            if outcome.status == 'failed' and jobs[index].execution.stop_on_first_crash:
                stopped.append(name)
        told(outcome)
        return outcome

    async def everything() -> list[ScanResult | None]:
        gate = asyncio.Semaphore(max(1, most))
        return list(await asyncio.gather(*(one(index, gate) for index in range(len(jobs)))))

    whole = submitter.loop.create_task(everything())
    try:
        found = _elsewhere(
            lambda: submitter.loop.run_until_complete(whole),
            at_stop=lambda: submitter.loop.call_soon_threadsafe(whole.cancel),
        )
    except BaseException:
        _drop(submitter.worker)
        raise
    submitter.close()
    return found


def _elsewhere(work: Callable[[], _T], at_stop: Callable[[], object] = lambda: None) -> _T:
    """Work in a thread of its own: the event loop of this one is the caller's, and may run."""
    future: Future[_T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    try:
        return future.result()
    except KeyboardInterrupt:
        at_stop()
        wait([future], _CANCEL_SECONDS)
        raise


def _drop(worker: 'Worker') -> None:
    """Start nothing more, and cancel what a batch system was given."""
    if isinstance(pool := getattr(worker, 'pool', None), ProcessPoolExecutor):
        pool.shutdown(wait=False, cancel_futures=True)
    numbers = list(getattr(worker, 'error', ()))
    if numbers and worker.plugin_name in CANCEL:
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = [CANCEL[worker.plugin_name], *numbers]
            subprocess.run(command, capture_output=True, timeout=_CANCEL_SECONDS, check=False)


def check_worker(worker: str, worker_args: dict | None = None) -> None:
    """Refuse an unknown worker, or an argument that it does not have, before anything runs.

    Parameters
    ----------
    worker, worker_args
        As of :func:`run_cohort`.

    Raises
    ------
    InputError
        Also where the worker cannot start this Python.
    """
    if worker in UNQUOTED and any(letter.isspace() for letter in sys.executable):
        raise InputError(
            f'--worker {worker} cannot start {sys.executable} because of the blank in its path: '
            'install in an environment without one, or use an array of jobs.'
        )
    arguments = dict(worker_args or {})
    most = 1 if worker in LOCAL_WORKERS else arguments.pop('max_jobs', 1)
    if not isinstance(most, int) or most < 1:
        raise InputError(f'--worker-args: max_jobs is {most!r}; give a number of tasks above 0.')
    if worker != 'cf' or arguments:
        pydra = load_pydra()
        _elsewhere(lambda: _submitter(pydra, worker, 1, arguments).close())


def _submitter(pydra: ModuleType, worker: str, most: int, arguments: dict) -> 'Submitter':
    """Make the submitter of the tasks."""
    plugin: str | type[Worker] = worker
    if worker == 'cf':
        plugin, arguments = _processes(), {'n_procs': most, **arguments}
    try:
        return pydra.Submitter(plugin=plugin, **arguments)
    except NotImplementedError as error:
        raise InputError(f'--worker {worker} is not one that Pydra has: {error}.') from error
    except TypeError as error:
        raise InputError(f'--worker-args: {error}.') from error
    except ImportError as error:
        raise InputError(f'--worker {worker} needs what is not installed: {error}.') from error


def segment_job(job: ScanJob) -> ScanResult:
    """Run one scan on a worker; errors are recorded, not raised."""
    try:
        return run_job(for_attempt(job, dict(os.environ)))
    except Exception as error:
        reason = ' '.join(str(error).split())
        return ScanResult(job.scan.name, 'failed', reason=f'{type(error).__name__}: {reason}.')


def load_pydra() -> ModuleType:
    """Import Pydra without its asking the network for newer versions of itself."""
    with environment(**ASKS_NO_NETWORK):
        import pydra

    return pydra


def _segment(pydra: ModuleType) -> 'Callable[..., FunctionTask]':
    """Make the task: Pydra's decorator, without loading Pydra for those who run one scan."""
    pydra.mark.annotate({'return': {'out': ScanResult}})(segment_job)
    return pydra.mark.task(segment_job)


def _processes() -> type['Worker']:
    """Make Pydra's worker of processes, which are started afresh instead of forked."""
    from pydra.engine.workers import ConcurrentFuturesWorker, Worker

    class Processes(ConcurrentFuturesWorker):
        plugin_name = 'cf'

        def __init__(self, n_procs: int = 1):
            Worker.__init__(self)
            self.n_procs = n_procs
            context = multiprocessing.get_context(METHOD)
            self.pool = ProcessPoolExecutor(n_procs, mp_context=context)

    return Processes


def share_cores(jobs: Sequence[ScanJob], at_once: int, cores: int) -> list[ScanJob]:
    """Share the cores among scans that run side by side.

    Parameters
    ----------
    jobs : sequence of ScanJob
    at_once, cores : int
        Scans side by side, and cores for all of them.

    Returns
    -------
    list of ScanJob
        Each with one process and its share of threads.
    """
    threads = max(1, cores // at_once)
    return [
        replace(job, execution=replace(job.execution, nprocs=1, threads=threads)) for job in jobs
    ]
