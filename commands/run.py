"""``secondglance run``: every scan of the subjects named, one after the other."""

import argparse
import os
import shutil
import sys
import time
from pathlib import Path

from secondglance import __version__
from secondglance.imaging.errors import InputError

DONE, FAILED = 0, 1


def run(args: argparse.Namespace) -> int:
    """Segment the scans that were asked for.

    Parameters
    ----------
    args : argparse.Namespace
        As ``workflows._build_parser`` parses them.

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

    console = Console(stderr=True, highlight=False, soft_wrap=True)
    bids_dir, output_dir, reference = _folders(args, console)
    settings = _settings(args)
    _check_writable(output_dir, '--output-dir')
    _check_writable(args.work_dir, '--work-dir')

    from secondglance.interfaces.bids import find_subjects

    everyone = args.subject == ['all']
    subjects = find_subjects(bids_dir) if everyone else args.subject
    if not subjects:
        raise InputError(f'{bids_dir} holds no sub-… folder: give --bids-dir a BIDS data set.')
    failures: dict[str, str] = {}
    n_scans = 0
    for subject in subjects:
        try:
            scans = _scans(args, bids_dir, subject)
        except InputError as error:
            if not everyone and len(subjects) == 1:
                raise
            failures[subject] = str(error)
            continue
        for scan in scans:
            n_scans += 1
            problem = _run_scan(scan, settings, output_dir, reference, args, console)
            if problem:
                failures[scan.name] = problem
                console.print(f'[red]{scan.name} failed:[/] ', end='')
                print(f'secondglance: {problem}', file=sys.stderr)
                if args.stop_on_first_crash:
                    return FAILED
    if n_scans + len(failures) > 1:
        done = n_scans - sum(name not in subjects for name in failures)
        console.print(f'{done} of {n_scans} scans done.')
        for name, problem in failures.items():
            console.print(f'  {name}: {problem}', markup=False)
    return FAILED if failures else DONE


def _folders(args, console) -> tuple[Path, Path, Path | None]:
    """Resolve data set, output folder and reference; make the example where none is named."""
    if args.bids_dir:
        bids_dir = Path(args.bids_dir).resolve()
        output_dir = args.output_dir or bids_dir / 'derivatives' / 'secondglance'
    else:
        from secondglance.commands.simulate import make_example

        bids_dir = Path('example').resolve()
        if not (bids_dir / 'dataset_description.json').is_file():
            console.print(f'No --bids-dir given: the example rat is made in {bids_dir}.')
            make_example(bids_dir)
        else:
            console.print(f'No --bids-dir given: the example rat in {bids_dir} is used.')
        output_dir = args.output_dir or Path('out')
    reference = args.reference
    if reference is None and (bids_dir / 'derivatives' / 'reference').is_dir():
        reference = bids_dir / 'derivatives' / 'reference'
    elif reference is not None and not reference.exists():
        raise InputError(f'Reference {reference} is not there: check --reference.')
    return bids_dir, Path(output_dir).resolve(), reference


def _settings(args):
    """Turn the call's options into the settings of the graph, with every default resolved."""
    from secondglance.data import donor_paths
    from secondglance.interfaces.bids import find_donor
    from secondglance.interfaces.checks import check_donor
    from secondglance.models.weights import default_weights, load_weights
    from secondglance.pipelines.preproc import resolve_engine
    from secondglance.pipelines.subject import Settings

    if args.nprocs < 1:
        raise InputError(f'--nprocs {args.nprocs} is not a number of processes: give 1 or more.')
    if args.smooth < 0:
        raise InputError(f'--smooth {args.smooth} is not a number of copies: give 0 or more.')
    if not args.enhance_width > 0:
        raise InputError(f'--enhance-width {args.enhance_width:g} must be more than 0.')
    if args.slices_per_job < 0:
        raise InputError(f'--slices-per-job {args.slices_per_job} must be 0 or more.')
    weights = (args.weights or default_weights()).resolve()
    if args.weights:
        # What ships is checked by the tests; a user's own file is read whole before anything runs
        load_weights(weights)
    donors = [find_donor(folder.resolve()) for folder in args.donor or donor_paths()]
    if args.donor:
        for image, mask in donors:
            check_donor(image, mask)
    return Settings(
        weights=weights,
        donors=tuple(donors),
        motion=resolve_engine(args.motion),
        b0_threshold=args.b0_threshold,
        all_b0=args.all_b0,
        species=args.species,
        donor_species=args.species if args.donor else 'rat',
        slice_axis=args.slice_axis,
        mask_method=args.mask_method,
        saliency=args.saliency,
        target=args.target,
        smooth=args.smooth,
        enhance_peak=args.enhance_peak,
        enhance_width=args.enhance_width,
        explain=tuple(dict.fromkeys(args.explain)),
        explain_region=_region(args),
        device=_device(args.device),
        slices_per_job=args.slices_per_job,
        nprocs=args.nprocs,
        threads=max(1, len(os.sched_getaffinity(0)) // args.nprocs),
    )


def _region(args) -> Path | tuple[int, int, int] | None:
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


def _device(name: str) -> str:
    """Resolve ``auto`` without the two seconds that importing torch takes."""
    if name == 'auto':
        return 'cuda' if Path('/dev/nvidia0').exists() else 'cpu'
    if name != 'cpu' and not name.startswith('cuda'):
        raise InputError(f'--device {name} is not known: give auto, cpu, cuda or cuda:N.')
    if name.startswith('cuda'):
        import torch

        if not torch.cuda.is_available():
            raise InputError(f'--device {name}: torch finds no GPU here; give --device cpu.')
    return name


def _check_writable(folder: Path, option: str) -> None:
    """Make the folder; that failing, say which option to change."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise InputError(
            f'{folder} cannot be made ({error.strerror}): choose another {option}.'
        ) from error
    if not writable:
        raise InputError(f'{folder} cannot be written: choose another {option}.')


def _scans(args, bids_dir: Path, subject: str):
    from secondglance.interfaces.bids import find_scans

    return find_scans(bids_dir, subject, args.suffix, args.session, args.run)


def _run_scan(scan, settings, output_dir, reference, args, console) -> str | None:
    """Run one scan's graph; what went wrong comes back as one sentence."""
    from dataclasses import replace

    from secondglance.interfaces.bids import find_reference
    from secondglance.interfaces.checks import check_scan
    from secondglance.pipelines.engine import configure, run_workflow
    from secondglance.pipelines.subject import init_subject_wf

    start = time.monotonic()
    try:
        found = find_reference(reference, scan) if reference else None
        check_scan(scan, settings, found)
        workflow = init_subject_wf(
            scan=scan, output_dir=output_dir, settings=replace(settings, reference=found)
        )
        # Another version may compute something else from the same inputs
        workflow.base_dir = str(args.work_dir.resolve() / f'secondglance-{__version__}')
        configure(workflow, verbose=args.verbose, stop_on_first_crash=args.stop_on_first_crash)
        if args.dry_run:
            # Drawn by Graphviz where it is installed; its source says as much to those who read it
            kind = 'svg' if shutil.which('dot') else 'dot'
            path = workflow.write_graph(graph2use='colored', format=kind, simple_form=True)
            console.print(f'{scan.name}: nothing was run; the graph is drawn in {path}.')
            return None
        console.print(f'[bold]{scan.name}[/]  {scan.path.name}')
        console.print(f'  motion correction by {settings.motion}, network on {settings.device}')
        run_workflow(
            workflow,
            nprocs=args.nprocs,
            threads=settings.threads,
            mem_gb=args.mem_gb,
            plugin=args.plugin,
            plugin_args_file=args.plugin_args,
            gpu=settings.device.startswith('cuda'),
            console=console,
        )
    except InputError as error:
        return str(error)
    console.print(f'  report: {output_dir / scan.name}.html  ({time.monotonic() - start:.1f} s)')
    return None
