"""One scan, from its check to its record: what a call, a cohort's task and a batch job run."""

import contextlib
import json
import os
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from nipype.pipeline.engine import Workflow
from rich.console import Console

from secondglance.files.atomic import no_room
from secondglance.files.crashes import told_of_crash
from secondglance.files.tables import read_tsv
from secondglance.imaging.errors import InputError, SurroundingsError
from secondglance.pipelines.execution.checks import check_scan
from secondglance.pipelines.execution.lock import alone
from secondglance.pipelines.execution.nipype_engine import configure, run_workflow
from secondglance.pipelines.execution.records import refuse_edited, replacement, write_record
from secondglance.pipelines.execution.scan_jobs import ScanJob, known
from secondglance.pipelines.subject import init_subject_wf, workflow_name
from secondglance.reports.scan_result import ScanResult


def on_device(job: ScanJob) -> ScanJob:
    """Resolve the device ``auto`` of a job; as of `secondglance.models.device`."""
    from secondglance.models.device import resolve_device

    device = resolve_device(job.execution.device)
    return replace(job, execution=replace(job.execution, device=device))


def in_one_process(job: ScanJob) -> ScanJob:
    """Give the cores of a job's processes to threads of one, unless there is work for several.

    The stages of a scan wait for each other. Threads share slices, volumes and donors, and need
    no libraries or networks loaded again; processes pay where slices are cut into jobs.
    """
    how = job.execution
    if how.plugin is not None or how.slices_per_job:
        return job
    return replace(job, execution=replace(how, nprocs=1, threads=how.nprocs * how.threads))


def build(job: ScanJob, notes: Sequence[str] = ()) -> Workflow:
    """Check a scan and build its graph.

    Parameters
    ----------
    job : ScanJob
    notes : sequence of str
        Warnings of its report that are known beforehand.

    Returns
    -------
    nipype.pipeline.engine.Workflow
        With its `base_dir` set.

    Raises
    ------
    InputError
        If the scan cannot be used.
    """
    check_scan(job.scan, job.method, job.reference)
    workflow = init_subject_wf(
        scan=job.scan,
        output_dir=job.output_dir,
        method=job.method,
        execution=job.execution,
        reference=job.reference,
        cache_dir=job.common_dir / 'donors',
        notes=notes,
    )
    workflow.base_dir = str(job.work_dir)
    configure(
        workflow,
        verbose=job.execution.verbose,
        stop_on_first_crash=job.execution.stop_on_first_crash,
    )
    return workflow


def run_job(job: ScanJob, console: Console | None = None) -> ScanResult:
    """Segment one scan, unless it is finished; where another process is at it, wait for that.

    Parameters
    ----------
    job : ScanJob
    console : rich.console.Console, optional
        Where the stages are shown.

    Returns
    -------
    ScanResult
        A scan that cannot be used is an outcome too, with one sentence that says why. Only what
        is a fault of the scan itself is recorded; all else is tried again by the next call.
    """
    start = time.monotonic()

    def waiting() -> None:
        if console is not None:
            told = f'  Another process is at {job.scan.name}: waiting for its result.'
            console.print(told, markup=False)

    # Its cache, and its results: calls may share one without the other
    locks = (
        job.common_dir / 'locks' / f'{job.scan.name}.lock',
        job.output_dir / f'.{job.scan.name}.lock',
    )
    try:
        with contextlib.ExitStack() as held:
            # Each attempt of a batch system has its own cache: an older one may still hang on
            # another node
            for path in () if job.per_attempt else locks:
                held.enter_context(alone(path, waiting))
            return _run_alone(job, console, start)
    except InputError as error:
        reason = str(error)
    except MemoryError:
        reason = f'Memory ran out with {job.scan.path}: give --nprocs 1, or a machine with more.'
    except OSError as error:
        reason = _say(error, job)
    except Exception as error:
        # A fault of the program, outside of the stages
        reason = told_of_crash(error, job.common_dir / 'crash')
    finally:
        if job.per_attempt:
            shutil.rmtree(job.work_dir, ignore_errors=True)
    return ScanResult(job.scan.name, 'failed', time.monotonic() - start, reason=reason)


def _run_alone(job: ScanJob, console: Console | None, start: float) -> ScanResult:
    """Run a scan that no other process is at; record its result, or its own fault."""
    about = (job.scan, job.reference, job.recipe)
    finished = known(job)
    if finished is not None and finished.status == 'cached':
        if job.execution.clean:
            shutil.rmtree(job.work_dir / workflow_name(job.scan), ignore_errors=True)
        return finished
    refuse_edited(job.output_dir, job.scan)
    replaced = replacement(job.output_dir, job.scan)
    try:
        workflow = build(job, [replaced] if replaced else [])
        graph = run_workflow(workflow, job.execution, console=console)
    except SurroundingsError:
        raise
    except InputError as error:
        # The folder may be what failed
        with contextlib.suppress(OSError):
            seconds = time.monotonic() - start
            write_record(job.common_dir, *about, seconds=seconds, failure=str(error))
        raise
    nodes = {node.name: node for node in graph.nodes()}
    outputs = [Path(path) for path in nodes['publish'].result.outputs.out_files]
    flags = list(nodes['report'].result.outputs.warnings)
    figures = figures_of(outputs)
    seconds = time.monotonic() - start
    try:
        write_record(
            job.output_dir,
            *about,
            outputs=outputs,
            seconds=seconds,
            flags=flags,
            figures=figures,
            replaced=replaced,
        )
    except OSError as error:
        flags.append(f'The results are whole, but not their record: {_say(error, job)}')
    if job.execution.clean:
        shutil.rmtree(Path(workflow.base_dir) / workflow.name, ignore_errors=True)
    return ScanResult(job.scan.name, 'done', seconds, tuple(flags), figures)


def _say(error: OSError, job: ScanJob) -> str:
    """Say in one sentence why a file could not be read or written."""
    where = error.filename or job.work_dir
    if said := no_room(error, where):
        return said
    return f'{where} cannot be used ({error.strerror or error}): correct it, or choose another.'


def figures_of(outputs: list[Path]) -> dict:
    """Read from a scan's tables what a cohort's shows of it."""
    figures: dict = {}
    for path in outputs:
        if path.name.endswith('_desc-tissue_volumes.tsv'):
            figures |= {
                f'{row["label"]}_mm3': float(row['volume_from_fractions_mm3'])
                for row in read_tsv(path)
            }
        elif path.name.endswith('_desc-brain_mask.json'):
            told = json.loads(path.read_text())
            figures['species'] = told['Species']
            figures['confidence'] = round(told['Confidence'], 3)
        elif path.name.endswith('_desc-metrics_scores.tsv'):
            scores = {f'{row["label"]}_dice': float(row['dsc']) for row in read_tsv(path)}
            figures |= {name: round(dice, 4) for name, dice in scores.items() if dice == dice}
        elif path.name.endswith('_desc-confounds_timeseries.tsv'):
            moved = [float(row['framewise_displacement']) for row in read_tsv(path)]
            if known := [value for value in moved if value == value]:
                figures |= {
                    'motion_mean_mm': round(sum(known) / len(known), 4),
                    'motion_most_mm': round(max(known), 4),
                }
        elif path.name.endswith('_desc-lognormal_slices.tsv'):
            rows = [row for row in read_tsv(path) if row['ks_distance'] == row['ks_distance']]
            if rows:
                best = sum(row['best'] == 'lognormal' for row in rows)
                distance = sum(float(row['ks_distance']) for row in rows) / len(rows)
                figures |= {
                    'lognormal_share': round(best / len(rows), 3),
                    'lognormal_distance': round(distance, 4),
                }
    return figures


def for_attempt(job: ScanJob, environment: dict[str, str]) -> ScanJob:
    """Fit a job to the batch job that it runs in: its own cache, and as many threads as CPUs.

    Parameters
    ----------
    job : ScanJob
    environment : dict
        Of the process; a batch system names its job there.

    Examples
    --------
    >>> from secondglance.files.bids import Scan
    >>> from secondglance.pipelines.settings import Execution, Method
    >>> scan = Scan(Path('sub-01_dwi.nii'), {'sub': '01'}, 'dwi', 'dwi')
    >>> job = ScanJob(scan, Method(), Execution(), Path('out'), Path('work'), '', per_attempt=True)
    >>> str(for_attempt(job, {'SLURM_JOB_ID': '7', 'SLURM_RESTART_COUNT': '1'}).work_dir)
    'work/attempt-sub-01-7-1'
    """
    number = environment.get('SLURM_JOB_ID') or environment.get('JOB_ID')
    if not job.per_attempt:
        return job
    restart = environment.get('SLURM_RESTART_COUNT', '0')
    cpus = int(environment.get('SLURM_CPUS_PER_TASK', '1'))
    return replace(
        job,
        shared_dir=job.common_dir,
        work_dir=job.work_dir / f'attempt-{job.scan.name}-{number or os.getpid()}-{restart}',
        execution=replace(job.execution, threads=max(1, cpus // job.execution.nprocs)),
    )
