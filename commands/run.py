"""``secondglance run``: every scan of the subjects named, side by side where they are many."""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import re
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance.commands.folders import (
    check_output,
    data_set_of,
    place_work,
    writable,
)
from secondglance.commands.run_many import DONE, FAILED, run_many, write_cohort, write_group
from secondglance.imaging.errors import InputError

if TYPE_CHECKING:
    from nipype.pipeline.engine import Workflow
    from rich.console import Console

    from secondglance.files.bids import Scan
    from secondglance.pipelines.execution.scan_jobs import ScanJob
    from secondglance.pipelines.settings import Execution, Method
    from secondglance.reports.scan_result import ScanResult


def run(args: argparse.Namespace) -> int:
    """Segment the scans that were asked for.

    Parameters
    ----------
    args : argparse.Namespace
        As ``workflows.build_parser`` parses them.

    Returns
    -------
    int
        0 all done, 1 some subject failed.

    Raises
    ------
    InputError
        If nothing could be started: the call was wrong.
    """
    from rich.console import Console

    # In the order of what it costs to find out: most wrong calls end before torch is loaded
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    _check_numbers(args)
    _check_graph(args.graph, args.dry_run)
    bids_dir, output_dir, reference = folders_of(args, console)
    check_output(output_dir, bids_dir, reference)
    args.work_dir = _work_dir(args, output_dir, bids_dir, reference, console)
    if args.group:
        return write_group(output_dir, console)
    lost: list[ScanResult] = []
    if bids_dir is None:
        scans = _scans_of_files(args, output_dir, console)
    else:
        scans, lost = scans_of_subjects(args, bids_dir, console)
    check_name_lengths([output_dir, args.work_dir, *(scan.path for scan in scans)], scans)
    check_apart(scans, output_dir)
    if reference is not None and reference.is_file() and len(scans) + len(lost) > 1:
        raise InputError(f'Reference {reference} is of one image: give a folder, or one scan.')
    with writable(output_dir, '--output-dir'), writable(args.work_dir, '--work-dir'):
        method, execution = _method(args), _execution(args)
        jobs = _jobs(args, scans, method, execution, output_dir, reference)
        _tell_labels(jobs, console)
        if len(jobs) + len(lost) > 1 or args.worker:
            return run_many(args, jobs, lost, output_dir, console)
        return _run_one(args, jobs[0], console)


def _check_numbers(args: argparse.Namespace) -> None:
    """Refuse options with impossible values."""
    if args.smooth < 0:
        raise InputError(f'--smooth {args.smooth} is not a number of copies: give 0 or more.')
    for option, value in (('peak', args.enhance_peak), ('width', args.enhance_width)):
        if not math.isfinite(value):
            raise InputError(f'--enhance-{option} {value:g} is not a finite number.')
    if not args.enhance_width > 0:
        raise InputError(f'--enhance-width {args.enhance_width:g} must be more than 0.')
    if not math.isfinite(args.b0_threshold) or args.b0_threshold < 0:
        raise InputError(f'--b0-threshold {args.b0_threshold:g} must be 0 or more, in s/mm².')
    scale = args.voxel_scale
    if scale is not None and not (math.isfinite(scale) and scale > 0):
        raise InputError(f'--voxel-scale {scale:g} must be a number above 0.')
    if args.nprocs is not None and args.nprocs < 1:
        raise InputError(f'--nprocs {args.nprocs} is not a number of processes: give 1 or more.')
    if args.slices_per_job < 0:
        raise InputError(f'--slices-per-job {args.slices_per_job} must be 0 or more.')
    if args.mem_gb is not None and not (math.isfinite(args.mem_gb) and args.mem_gb > 0):
        raise InputError(f'--mem-gb {args.mem_gb:g} must be a number of gigabytes above 0.')
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', args.device):
        raise InputError(f'--device {args.device} is not known: give auto, cpu, cuda or cuda:N.')


def _check_graph(path: Path | None, dry_run: bool) -> None:
    """Refuse a drawing that cannot be made."""
    if path is None:
        return
    if not dry_run:
        raise InputError('--graph draws what would be done: give --dry-run, too.')
    if path.suffix not in ('.dot', '.svg', '.png'):
        raise InputError(f'--graph {path} is no .dot, .svg or .png: give one of these endings.')
    if path.suffix != '.dot' and shutil.which('dot') is None:
        raise InputError(f'--graph {path} needs Graphviz, which is not installed: give a .dot.')


def _run_one(args: argparse.Namespace, job: ScanJob, console: Console) -> int:
    """Run the one scan that was asked for, with one line a stage."""
    from rich.markup import escape

    from secondglance.pipelines.execution.scan_jobs import known

    name = job.scan.name
    if args.dry_run:
        from secondglance.pipelines.execution.job import build

        try:
            workflow = build(job)
        except InputError as error:
            return _failed(name, str(error), console)
        _tell_stages(name, workflow, console)
        if args.graph:
            _draw_graph(workflow, args.graph.resolve())
            console.print(f'  drawn in {args.graph}', markup=False)
        return DONE
    console.print(f'[bold]{escape(name)}[/]  {escape(job.scan.path.name)}')
    outcome = known(job)
    if outcome is None or outcome.status != 'cached' or args.clean:
        from secondglance.pipelines.execution.job import in_one_process, on_device, run_job

        job = in_one_process(on_device(job))
        told = f'  motion correction by {job.method.motion}, network on {job.execution.device}'
        console.print(told, markup=False)
        outcome = run_job(job, console)
    if (job.output_dir / 'cohort.tsv').is_file():
        _, rows = write_cohort([outcome], job.output_dir)
        outcome = rows[name]
    if outcome.status == 'failed':
        return _failed(name, outcome.reason, console)
    for flag in outcome.flags:
        console.print(f'  [yellow]look closely:[/] {escape(flag)}')
    took = f'{outcome.seconds:.1f} s'
    if outcome.status == 'cached':
        took = f'made before in {took}, nothing has changed'
    told = f'  report: {job.output_dir / name}.html  ({took})'
    console.print(told, markup=False)
    if args.example:
        told = '  next: open the report; then your own scan, secondglance FILE.nii.gz -o RESULTS'
        console.print(told, markup=False)
    return DONE


def _tell_stages(name: str, workflow: Workflow, console: Console) -> None:
    """Print the stages of a scan, and the nodes of each."""
    from secondglance.pipelines.execution.nipype_engine import STAGE_TITLES, stages_of

    console.print(f'{name}: nothing was run. Its stages:', markup=False)
    for stage, nodes in stages_of(workflow).items():
        console.print(f'  {STAGE_TITLES[stage]:<28} {", ".join(nodes)}', markup=False)


def _draw_graph(workflow: Workflow, path: Path) -> None:
    """Draw a graph; Graphviz draws all but its own text form."""
    kind = path.suffix.removeprefix('.')
    drawn = workflow.write_graph(
        str(path.with_suffix('.dot')), graph2use='colored', format=kind, simple_form=True
    )
    if Path(drawn) != path:
        Path(drawn).replace(path)


def _failed(name: str, reason: str, console: Console) -> int:
    from rich.markup import escape

    console.print(f'[red]{escape(name)} failed:[/] ', end='')
    print(f'secondglance: {reason}', file=sys.stderr)
    return FAILED


def _scans_of_files(args: argparse.Namespace, output_dir: Path, console: Console) -> list[Scan]:
    """Take every image that was named; no two results may lie in one place."""
    from secondglance.files.bids import each_once, scan_of_file

    if args.session or args.run or args.bids_filter_file:
        raise InputError(
            '--session, --run and --bids-filter-file choose in a data set; an --image is one file.'
        )
    found: dict[str, Scan] = {}
    for path in dict.fromkeys(Path(os.path.abspath(path)) for path in args.image):
        scan = scan_of_file(path, args.suffix)
        if scan.name in found:
            raise InputError(
                f'{path} would be {scan.name} in {output_dir}, as {found[scan.name].path} is: '
                'rename it, or give each its own --output-dir.'
            )
        found[scan.name] = scan
    notes: list[str] = []
    kept = each_once(list(found.values()), notes)
    for note in notes:
        console.print(f'  {note}', markup=False)
    return kept


_LONGEST_NAME = 150
"""Bytes of a scan's name; names of results are up to 100 longer, and file systems allow 255."""


def check_name_lengths(paths: list[Path], scans: list[Scan]) -> None:
    """Refuse paths that no record can hold, and names that no result can have."""
    for path in paths:
        try:
            str(path).encode()
        except UnicodeEncodeError as error:
            shown = os.fsencode(path).decode(errors='backslashreplace')
            raise InputError(f'{shown} is not named in UTF-8: rename it.') from error
    for scan in scans:
        if len(scan.name.encode()) > _LONGEST_NAME:
            raise InputError(
                f'{scan.path} has too long a name for results that are named after it (more than '
                f'{_LONGEST_NAME} letters): rename it.'
            )


def check_apart(scans: list[Scan], output_dir: Path) -> None:
    """Refuse scans with results in the same place, or in the place of another scan's results."""
    from secondglance.pipelines.execution.records import image_of_record

    found: dict[Path, Scan] = {}
    for scan in scans:
        where = scan.folder / scan.stem
        if where in found:
            raise InputError(
                f'{found[where].path} and {scan.path} would both be {where}: rename one, or give '
                'each its own --output-dir.'
            )
        found[where] = scan
        if (other := image_of_record(output_dir, scan)) is not None:
            raise InputError(
                f'{scan.path} would be {scan.name} in {output_dir}, as {other} is: rename it, or '
                'give each data set its own --output-dir.'
            )


def scans_of_subjects(
    args: argparse.Namespace, bids_dir: Path, console: Console
) -> tuple[list[Scan], list[ScanResult]]:
    """Find every scan; a subject without one is an outcome, unless it is the only one."""
    from secondglance.files.bids import each_once, find_scans, find_subjects, usual_suffix
    from secondglance.files.bids_filters import fits, read_filters

    everyone = args.subject == ['all']
    subjects = (
        find_subjects(bids_dir)
        if everyone
        else list(dict.fromkeys(label.removeprefix('sub-') for label in args.subject))
    )
    if not subjects:
        raise InputError(f'{bids_dir} holds no sub-… folder: give --bids-dir a BIDS data set.')
    filters = read_filters(args.bids_filter_file, args.suffix) if args.bids_filter_file else {}
    (asked,) = filters.get('suffix', [args.suffix])
    if 'sub' in filters:
        subjects = [label for label in subjects if fits({'sub': label}, {'sub': filters['sub']})]
        if not subjects:
            raise InputError(f'{args.bids_filter_file} leaves none of the subjects.')
    scans, lost, notes = [], [], list[str]()
    for subject in subjects:
        try:
            suffix = asked or usual_suffix(bids_dir, subject)
            scans += find_scans(bids_dir, subject, suffix, args.session, args.run, notes, filters)
        except InputError as error:
            if len(subjects) == 1:
                raise
            from secondglance.reports.scan_result import ScanResult

            name = f'sub-{subject.removeprefix("sub-")}'
            lost.append(ScanResult(name, 'failed', seconds=math.nan, reason=str(error)))
    scans = each_once(scans, notes)
    for note in notes:
        console.print(f'  {note}', markup=False)
    return scans, lost


def _jobs(
    args: argparse.Namespace,
    scans: list[Scan],
    method: Method,
    execution: Execution,
    output_dir: Path,
    reference: Path | None,
) -> list[ScanJob]:
    """List the scans to segment, each with its reference."""
    from secondglance.files.bids import find_reference
    from secondglance.pipelines.execution.cache import open_cache
    from secondglance.pipelines.execution.records import recipe
    from secondglance.pipelines.execution.scan_jobs import ScanJob

    work_dir, digest = open_cache(args.work_dir), recipe(method)
    return [
        ScanJob(
            scan=scan,
            method=method,
            execution=execution,
            output_dir=output_dir,
            work_dir=work_dir,
            recipe=digest,
            reference=find_reference(reference, scan) if reference else None,
        )
        for scan in scans
    ]


def _tell_labels(jobs: list[ScanJob], console: Console) -> None:
    """Say once how labels of references are read where no table says what they are."""
    from secondglance.files.labels import WITHOUT_TABLE, find_label_table, read_reference

    path = next((job.reference for job in jobs if job.reference is not None), None)
    # Unreadable files are reported with their scan
    with contextlib.suppress(InputError):
        if path is None or find_label_table(path) is not None:
            return
        if read_reference(path).tissues:
            console.print(WITHOUT_TABLE.format(path=path), markup=False)


def folders_of(
    args: argparse.Namespace, console: Console
) -> tuple[Path | None, Path, Path | None]:
    """Resolve data set, output folder and reference; make the example where none is named."""
    bids_dir = None
    if args.image:
        output_dir = args.output_dir or Path('out')
    elif args.bids_dir and not args.example:
        bids_dir = Path(args.bids_dir).resolve()
        output_dir = args.output_dir or bids_dir / 'derivatives' / 'secondglance'
    elif not args.example and (own := data_set_of(Path.cwd().resolve())):
        bids_dir = own
        told = f'No --bids-dir given: the data set of this folder, {bids_dir}.'
        console.print(told, markup=False)
        output_dir = args.output_dir or bids_dir / 'derivatives' / 'secondglance'
    else:
        from secondglance.commands.simulate import is_example, make_example

        if not args.example and any(Path.cwd().glob('sub-*/')):
            raise InputError(
                f'{Path.cwd()} has sub-… folders but no dataset_description.json: give --bids-dir.'
            )
        bids_dir = Path(args.example or 'example').resolve()
        why = '' if args.example else 'No --bids-dir given: '
        if is_example(bids_dir):
            console.print(f'{why}the EXAMPLE rat in {bids_dir}.', markup=False)
        else:
            make_example(bids_dir)
            console.print(f'{why}the EXAMPLE rat, written to {bids_dir}.', markup=False)
        output_dir = args.output_dir or Path('out')
    reference = args.reference
    if reference is None and bids_dir is not None:
        known = bids_dir / 'derivatives' / 'reference'
        reference = known if known.is_dir() else None
    elif reference is not None and not reference.exists():
        raise InputError(f'Reference {reference} is not there: check --reference.')
    if reference is not None:
        reference = reference.resolve()
    return bids_dir, Path(output_dir).resolve(), reference


def _work_dir(
    args: argparse.Namespace,
    output_dir: Path,
    bids_dir: Path | None,
    reference: Path | None,
    console: Console,
) -> Path:
    """Place the work folder, and say so where it is not the usual one."""
    work_dir = place_work(args.work_dir, output_dir, bids_dir, reference)
    if args.work_dir is None and work_dir != Path('work').resolve():
        told = f'This folder holds raw data: the work folder is {work_dir}.'
        console.print(told, markup=False)
    return work_dir


def _method(args: argparse.Namespace) -> Method:
    """Turn the options that change the result into a method, every default resolved."""
    from secondglance.data import donor_paths
    from secondglance.files.bids import find_donor
    from secondglance.files.nifti import check_donor
    from secondglance.files.regions import read_region_atlas
    from secondglance.interfaces.mcflirt import resolve_engine
    from secondglance.models.choices import SaliencyOptions
    from secondglance.models.weights import (
        REFINEMENT,
        SECOND_GLANCE,
        default_refinement,
        default_second_glance,
        default_weights,
        load_weights,
        read_calibration,
    )
    from secondglance.pipelines.settings import Method

    weights = Path(os.path.abspath(args.weights or default_weights()))
    if args.weights:
        # What ships is checked by the tests; a user's own file is read whole before anything runs
        load_weights(weights)
    refinement = Path(os.path.abspath(args.refinement or default_refinement()))
    if args.refinement:
        load_weights(refinement, form=REFINEMENT)
        read_calibration(refinement)
    second_weights = (args.second_weights or default_second_glance()).resolve()
    if args.second_weights:
        load_weights(second_weights, form=SECOND_GLANCE)
    if args.atlas:
        # Read before anything runs, so that errors are reported at once
        read_region_atlas(args.atlas)
    donors = [find_donor(folder.resolve()) for folder in args.donor or donor_paths()]
    if args.donor:
        for image, mask in donors:
            check_donor(image, mask)
    return Method(
        weights=weights,
        refinement=refinement,
        donors=tuple(donors),
        motion=resolve_engine(args.motion),
        voxel_scale=args.voxel_scale,
        b0_threshold=args.b0_threshold,
        all_b0=args.all_b0,
        species=args.species,
        slice_axis=args.slice_axis,
        turn=args.turn,
        mask_method=args.mask_method,
        second_glance=args.second_glance,
        second_weights=second_weights,
        regions=not args.no_regions,
        save_preproc=args.save_preproc,
        atlas=args.atlas.resolve() if args.atlas else None,
        saliency=SaliencyOptions(
            args.saliency, args.target, args.smooth, args.enhance_peak, args.enhance_width
        ),
        explain=tuple(dict.fromkeys(args.explain)),
        explain_region=_region(args),
    )


def _execution(args: argparse.Namespace) -> Execution:
    """Turn the options that do not change the result into an execution."""
    from secondglance.pipelines.execution.processes import available_cores
    from secondglance.pipelines.settings import Execution, read_arguments

    if args.plugin is not None:
        from secondglance.pipelines.execution.nipype_engine import check_plugin

        check_plugin(args.plugin)
    device = args.device
    if device.startswith('cuda'):
        from secondglance.models.device import resolve_device

        device = resolve_device(device)
    nprocs = args.nprocs or 1
    return Execution(
        device=device,
        nprocs=nprocs,
        threads=max(1, available_cores() // nprocs),
        slices_per_job=args.slices_per_job,
        mem_gb=args.mem_gb,
        plugin=args.plugin,
        plugin_args=read_arguments(args.plugin_args, '--plugin-args'),
        verbose=args.verbose,
        stop_on_first_crash=args.stop_on_first_crash,
        clean=args.clean,
    )


def _region(args: argparse.Namespace) -> Path | tuple[int, int, int] | None:
    """Read ``--explain-region``: a mask's path, or a voxel."""
    text = args.explain_region
    if text is None:
        return None
    if not args.explain:
        raise InputError('--explain-region needs --explain: name the tissues to explain there.')
    numbers = text.split(',')
    if len(numbers) == 3 and all(number.strip().isdecimal() for number in numbers):
        i, j, k = (int(number) for number in numbers)
        return i, j, k
    if not Path(text).is_file():
        raise InputError(
            f'--explain-region {text} is neither a file nor a voxel: give a mask, or I,J,K.'
        )
    return Path(text).resolve()
