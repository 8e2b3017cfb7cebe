"""Many scans in one call: what is to be done, its progress, and what became of each."""

from __future__ import annotations

import argparse
import csv
import math
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance.imaging.errors import InputError, SurroundingsError

if TYPE_CHECKING:
    from rich.console import Console

    from secondglance.pipelines.execution.scan_jobs import ScanJob
    from secondglance.reports.scan_result import ScanResult

DONE, FAILED = 0, 1

MEMORY_GB = 1.5
"""Most that one scan of usual size needs."""


MOST_SHOWN = 40
"""Scans of which a line is printed; all are in the table."""


FIGURES = (
    'species',
    'confidence',
    'brain_mm3',
    'WM_mm3',
    'GM_mm3',
    'CSF_mm3',
    'brain_dice',
    'WM_dice',
    'GM_dice',
    'CSF_dice',
    'motion_mean_mm',
    'motion_most_mm',
    'lognormal_share',
    'lognormal_distance',
)


def run_many(
    args: argparse.Namespace,
    jobs: list[ScanJob],
    lost: list[ScanResult],
    output_dir: Path,
    console: Console,
) -> int:
    """Run what is not yet finished, and write ``cohort.tsv`` and ``cohort.html``.

    Parameters
    ----------
    args : argparse.Namespace
        Of ``secondglance run``.
    jobs : list of secondglance.pipelines.execution.job.ScanJob
    lost : list of secondglance.pipelines.execution.job.ScanResult
        Subjects that have no scan.
    output_dir : Path
    console : rich.console.Console

    Returns
    -------
    int
        0 all done, 1 some failed.
    """
    from secondglance.pipelines.execution.cohort import check_worker
    from secondglance.pipelines.execution.scan_jobs import known
    from secondglance.pipelines.settings import read_arguments

    check_worker(args.worker or 'cf', read_arguments(args.worker_args, '--worker-args'))
    found = {job.scan.name: known(job) for job in jobs}
    if args.retry_failed:
        found = {n: o for n, o in found.items() if o is None or o.status != 'failed'}
    outcomes = {name: outcome for name, outcome in found.items() if outcome}
    todo = [job for job in jobs if job.scan.name not in outcomes]
    if args.dry_run:
        return _plan(jobs, lost, outcomes, console)
    if todo:
        console.print(f'{len(todo)} of {len(jobs)} scans to do.')
        outcomes |= {outcome.scan: outcome for outcome in _run(args, todo, console)}
    ours = [*(outcomes[job.scan.name] for job in jobs), *lost]
    page, flagged = write_cohort(ours, output_dir)
    tried = {job.scan.name for job in todo} | {outcome.scan for outcome in lost}
    ordered = [flagged[outcome.scan] for outcome in ours]
    _summarise(ordered, page, console, tried=tried)
    return FAILED if any(outcome.status == 'failed' for outcome in ordered) else DONE


def _run(args: argparse.Namespace, todo: list[ScanJob], console: Console) -> list[ScanResult]:
    from dataclasses import replace

    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeElapsedColumn as Elapsed
    from rich.progress import TimeRemainingColumn as Left

    from secondglance.pipelines.execution.cohort import LOCAL_WORKERS, run_cohort, share_cores
    from secondglance.pipelines.execution.job import on_device
    from secondglance.pipelines.execution.processes import WARM, available_cores, start_server
    from secondglance.pipelines.settings import read_arguments

    worker = args.worker or 'cf'
    if worker == 'cf':
        # It imports the libraries while this process does so itself
        start_server(WARM)
    todo = [on_device(job) for job in todo]
    cores = available_cores()
    at_once = min(args.nprocs or cores, len(todo))
    if args.mem_gb:
        at_once = max(1, min(at_once, int(args.mem_gb / MEMORY_GB)))
    if todo[0].execution.gpu:
        # One card: side by side, subjects would run it out of memory
        at_once = 1
    if worker in LOCAL_WORKERS:
        todo = share_cores(todo, at_once, cores)
    else:
        todo = [replace(job, per_attempt=True) for job in todo]
    columns = (TextColumn('  {task.description}'), BarColumn(bar_width=24), MofNCompleteColumn())
    # Scans last minutes: the pace is that of the last hour
    clocks = Elapsed(), Left()
    with Progress(*columns, *clocks, console=console, speed_estimate_period=3600) as bar:
        task = bar.add_task('scans', total=len(todo))

        def told(outcome: ScanResult) -> None:
            bar.advance(task)
            if outcome.status == 'failed':
                say = f'  {outcome.scan} failed: secondglance: {outcome.reason}'
                bar.console.print(say, markup=False)
            elif len(todo) <= MOST_SHOWN:
                bar.console.print(f'  {outcome.scan}  {outcome.seconds:.1f} s', markup=False)

        arguments = read_arguments(args.worker_args, '--worker-args')
        return run_cohort(todo, worker=worker, at_once=at_once, worker_args=arguments, told=told)


def _plan(
    jobs: list[ScanJob],
    lost: list[ScanResult],
    outcomes: Mapping[str, ScanResult],
    console: Console,
) -> int:
    """Print what would be done."""
    lines = [
        (job.scan.name, outcomes[job.scan.name].status if job.scan.name in outcomes else 'to do')
        for job in jobs
    ]
    for name, status in lines[:MOST_SHOWN]:
        console.print(f'  {name}  {status}', markup=False)
    if len(lines) > MOST_SHOWN:
        console.print(f'  … and {len(lines) - MOST_SHOWN} more')
    for outcome in lost:
        console.print(f'  {outcome.scan}: {outcome.reason}', markup=False)
    counts = Counter(status for _, status in lines)
    told = ', '.join(f'{count} {status}' for status, count in counts.items())
    console.print(f'Nothing was run. {len(jobs)} scans: {told}.')
    return FAILED if lost else DONE


def write_cohort(
    outcomes: list[ScanResult], output_dir: Path
) -> tuple[Path, dict[str, ScanResult]]:
    """Write a row a scan of the output folder, and a page that shows them all.

    Echoes of one scan are one row, that of the first: an animal is counted once.

    Parameters
    ----------
    outcomes : list of secondglance.pipelines.execution.job.ScanResult
        Of this call; what others finished, or failed at, is added.
    output_dir : Path

    Returns
    -------
    Path
        Of the page.
    dict of str to ScanResult
        What the page shows, by scan: with a flag more where one is unlike the others.
    """
    from secondglance.pipelines.execution.lock import alone

    path = output_dir / 'cohort.tsv'
    try:
        # Another call may be writing what it has done: neither loses the other's
        with alone(output_dir / '.cohort.lock'):
            return _write_table_and_page(outcomes, path)
    except OSError as error:
        raise SurroundingsError(
            f'The results are whole, but {path} cannot be written ({error.strerror}): make room, '
            'or choose another --output-dir.'
        ) from error


def _write_table_and_page(
    outcomes: list[ScanResult], path: Path
) -> tuple[Path, dict[str, ScanResult]]:
    from secondglance.files.atomic import write_whole
    from secondglance.reports.cohort import flag_outliers, verdict_of, write_cohort_page

    # Table, page and summary have the same flags
    outcomes = flag_outliers([*outcomes, *_of_other_calls(outcomes, path)])
    lines = ['\t'.join(('scan', 'status', 'verdict', 'seconds', 'flags', 'reason', *FIGURES))]
    for outcome in _count_once(outcomes):
        cells = (
            outcome.scan,
            outcome.status,
            verdict_of(outcome),
            None if math.isnan(outcome.seconds) else f'{outcome.seconds:.1f}',
            ' '.join(outcome.flags),
            outcome.reason,
            *(outcome.figures.get(name) for name in FIGURES),
        )
        plain = (
            ' '.join(str(cell).split()) if cell not in (None, '') else 'n/a' for cell in cells
        )
        lines.append('\t'.join(plain))
    write_whole(path, '\n'.join([*lines, '']))
    return write_cohort_page(outcomes, path.parent), {one.scan: one for one in outcomes}


def _count_once(outcomes: list[ScanResult]) -> list[ScanResult]:
    """Leave out the later echoes of scans of which an earlier one is there; no failure is.

    Examples
    --------
    >>> from secondglance.reports.scan_result import ScanResult
    >>> names = 'sub-1_echo-10_bold', 'sub-1_echo-2_bold', 'sub-1_run-2_echo-2_bold'
    >>> [one.scan for one in _count_once([ScanResult(name, 'done') for name in names])]
    ['sub-1_echo-2_bold', 'sub-1_run-2_echo-2_bold']
    """

    def echo(outcome: ScanResult) -> tuple[str, int]:
        found = re.search(r'_echo-(\d+)', outcome.scan)
        number = int(found[1]) if found else 0
        return re.sub(r'_echo-\d+', '', outcome.scan), number

    first: dict[str, int] = {}
    for scan, number in (echo(o) for o in outcomes if o.status != 'failed'):
        first[scan] = min(first.get(scan, number), number)
    return [o for o in outcomes if o.status == 'failed' or first[echo(o)[0]] == echo(o)[1]]


def write_group(output_dir: Path, console: Console) -> int:
    """Write the table and the page of an output folder, as the group level of a BIDS App.

    Raises
    ------
    InputError
        If it holds no results.
    """
    from secondglance.pipelines.execution.records import finished_scans

    finished = finished_scans(output_dir)
    if not finished:
        raise InputError(f'{output_dir} holds no results: run the participant level first.')
    page, rows = write_cohort([], output_dir)
    flagged = sum(bool(outcome.flags) for outcome in rows.values())
    console.print(f'{len(finished)} scans, {flagged} to look at: {page}', markup=False)
    return DONE


def _of_other_calls(outcomes: list[ScanResult], path: Path) -> list[ScanResult]:
    """List what other calls made of an output folder's scans, by its records and its table."""
    from secondglance.files.tables import read_tsv
    from secondglance.pipelines.execution.records import finished_scans
    from secondglance.reports.scan_result import ScanResult

    names = {outcome.scan for outcome in outcomes}
    others = [
        ScanResult(name, 'cached', record.seconds, record.flags, record.figures)
        for name, record in finished_scans(path.parent).items()
        if name not in names
    ]
    names |= {outcome.scan for outcome in others}
    try:
        for row in read_tsv(path):
            # A failure leaves no record here; a subject without a scan may have got one since
            name = str(row['scan'])
            if row['status'] != 'failed' or name in names:
                continue
            seconds = float(row['seconds'])
            # A diffusion scan has its subject's name, too, but took its time
            if math.isnan(seconds) and any(n.startswith(f'{name}_') for n in names):
                continue
            others.append(ScanResult(name, 'failed', seconds, reason=str(row['reason'])))
    except (OSError, ValueError, LookupError, TypeError, csv.Error):
        # The table may be a person's by now: the records count
        pass
    return others


def _summarise(outcomes: list[ScanResult], page: Path, console: Console, tried: set[str]) -> None:
    counts = Counter(outcome.status for outcome in outcomes)
    flagged = [outcome for outcome in outcomes if outcome.flags]
    told = [f'{counts[status]} {status}' for status in ('done', 'cached', 'failed')]
    console.print(f'{", ".join(told)}, {len(flagged)} to look at: {page}', markup=False)
    for outcome in flagged[:MOST_SHOWN]:
        console.print(f'  look at {outcome.scan}: {" ".join(outcome.flags)}', markup=False)
    failed = [outcome for outcome in outcomes if outcome.status == 'failed']
    for outcome in failed[:MOST_SHOWN]:
        again = '' if outcome.scan in tried else ' (before; --retry-failed tries again)'
        console.print(f'  {outcome.scan} failed{again}: {outcome.reason}', markup=False)
