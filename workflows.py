"""The command line: parse, validate, build, run, exit code."""

import argparse
import contextlib
import gc
import importlib
import os
import sys
import warnings
from pathlib import Path
from types import ModuleType

if __name__ == '__main__' and __package__ is None:
    # Run as a script from a checkout, the folder is not yet known as the package it is
    _ROOT = Path(__file__).resolve().parent
    sys.path = [p for p in sys.path if Path(p or '.').resolve() != _ROOT]
    try:
        import secondglance  # noqa: F401
    except ImportError:
        import importlib.util

        _spec = importlib.util.spec_from_file_location(
            'secondglance', _ROOT / '__init__.py', submodule_search_locations=[str(_ROOT)]
        )
        assert _spec is not None
        assert _spec.loader is not None
        _package = importlib.util.module_from_spec(_spec)
        sys.modules['secondglance'] = _package
        _spec.loader.exec_module(_package)

from secondglance import __version__
from secondglance.commands.completion import complete
from secondglance.commands.stopping import STOPPED, leave, stopping
from secondglance.commands.words import Parser, parse_run
from secondglance.imaging.errors import InputError, SurroundingsError
from secondglance.imaging.mask.methods import METHODS
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.models.choices import (
    MASK_METHODS,
    SALIENCY_METHODS,
    SECOND_GLANCES,
    TARGETS,
    TURNS,
)
from secondglance.models.saliency.methods import saliency_methods
from secondglance.pipelines.execution.environment import ASKS_NO_NETWORK, environment

COLLECT_FROM = 100_000
"""New objects after which Python looks for cycles: libraries make half a million while they are
imported, which would be looked through time and again, a fifth of what importing takes."""

DONE, FAILED, WRONG_CALL, INTERRUPTED, UNREAD = 0, 1, 2, 130, 141
COMMANDS = ('run', 'label', 'simulate', 'train', 'evaluate', 'sanity-check', 'completion')


class _Version(argparse.Action):
    """Print the version, and the checksums of the weights that ship with it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        """Print and exit."""
        from secondglance.models import weights

        shipped = (
            (weights.default_weights(), weights.FORMAT),
            (weights.default_refinement(), weights.REFINEMENT),
            (weights.default_second_glance(), weights.SECOND_GLANCE),
        )
        print(f'secondglance {__version__}')
        for path, form in shipped:
            print(f'  {path.name}  {weights.read_header(path, form)["checksum"]}')
        parser.exit()


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of ``run``.

    Examples
    --------
    >>> build_parser().parse_args(['--subject', 'sub-01']).mask_method
    'auto'
    """
    parser = Parser(
        prog='secondglance run',
        usage='secondglance [run] IMAGE … [options] | [run] --subject LABEL … [options] | '
        '[run] BIDS_DIR OUT_DIR {participant,group} [options] | example [FOLDER] [options]',
        allow_abbrev=False,
        description='Segment rodent brain tissue in diffusion, EPI or T2-weighted MRI.',
        epilog=f'Other commands: {" | ".join(COMMANDS[1:])}',
    )
    parser.add_argument('--version', action=_Version, nargs=0, help='of program and weights')
    what = parser.add_argument_group('what to segment')
    add = what.add_argument
    add(
        'inputs',
        nargs='*',
        metavar='IMAGE',
        help='or BIDS_DIR OUT_DIR {participant,group}; or example: writes the example data set to '
        'FOLDER (./example) and segments its first rat',
    )
    add(
        '--subject',
        '--participant-label',
        '--participant',
        nargs='+',
        metavar='LABEL',
        help='with or without sub-, or all',
    )
    add(
        '--image',
        nargs='+',
        type=Path,
        metavar='FILE',
        help='NIfTI files that are not in a BIDS data set',
    )
    add(
        '--bids-dir',
        type=Path,
        default=os.environ.get('SECONDGLANCE_BIDS_DIR'),
        help='data set; default: $SECONDGLANCE_BIDS_DIR, else the example rat',
    )
    add('--session', '--session-label', nargs='+', metavar='LABEL', help='only these sessions')
    add('--bids-filter-file', type=Path, metavar='FILE.json', help='which images, by entities')
    add('--skip-bids-validation', action='store_true', help=argparse.SUPPRESS)
    add('--run', help='only this run')
    add(
        '--suffix',
        help='which image: dwi, bold, sbref, T2w, … (default: dwi, or the only kind there is)',
    )
    add('--reference', type=Path, help='reference segmentation, or a folder of derivatives')
    add = parser.add_argument_group('where it goes').add_argument
    add(
        '-o',
        '--output-dir',
        type=Path,
        default=os.environ.get('SECONDGLANCE_OUTPUT_DIR'),
        help='default: $SECONDGLANCE_OUTPUT_DIR, else <bids-dir>/derivatives/secondglance, or '
        './out for an --image',
    )
    add(
        '-w',
        '--work-dir',
        type=Path,
        default=os.environ.get('SECONDGLANCE_WORK_DIR'),
        help='cache of the stages; default: $SECONDGLANCE_WORK_DIR, else ./work, or '
        '<output-dir>-work where the current folder holds raw data',
    )
    add = parser.add_argument_group('how it is done').add_argument
    add(
        '--motion',
        choices=('auto', 'fsl', 'sitk', 'none'),
        default='auto',
        help="FSL's MCFLIRT, the embedded engine (SimpleITK), or none; default: FSL where it is "
        'installed',
    )
    add(
        '--voxel-scale',
        type=float,
        metavar='F',
        help='multiply the lengths of the header by F to have mm; default: checked and estimated',
    )
    add(
        '--b0-threshold',
        type=float,
        default=50.0,
        metavar='B',
        help='largest b-value of a b0 volume, s/mm² (50)',
    )
    add('--all-b0', action='store_true', help='every volume is b0: an EPI time series')
    add('--species', choices=(AUTO, *BRAIN_SIZE), default=AUTO, help='default: estimated')
    add(
        '--slice-axis',
        choices=('auto', 'i', 'j', 'k'),
        default='auto',
        help='voxel axis from slice to slice; default: estimated',
    )
    add(
        '--turn',
        choices=TURNS,
        default=TURNS[0],
        help='degrees by which slices are turned to be upright; default: estimated',
    )
    add('--weights', type=Path, help='of the first glance, .safetensors; default: those that ship')
    add('--refinement', type=Path, help='weights of the refinement of the mask; likewise')
    add(
        '--donor',
        type=Path,
        nargs='+',
        metavar='DIR',
        help='folders of donors, each with image and brain mask of another animal; default: those '
        'that ship',
    )
    add(
        '--mask-method',
        choices=MASK_METHODS,
        default=MASK_METHODS[0],
        help='; '.join(f'{name}: {method.summary}' for name, method in METHODS.items())
        + '; auto (default): network, or another if that is doubtful and the other is not',
    )
    add(
        '--second-glance',
        choices=SECOND_GLANCES,
        default=SECOND_GLANCES[0],
        help='tissues by a second network, from head, mask and position in the brain; by the '
        'first network on the masked image, as in the paper; or by the first glance',
    )
    add('--second-weights', type=Path, help='weights of the second glance; likewise')
    add(
        '--save-preproc',
        action='store_true',
        help='write the motion-corrected series with its gradients (desc-preproc), and the brain '
        'without coil field (desc-brain)',
    )
    add('--no-regions', action='store_true', help='no map of the regions of an atlas')
    add(
        '--atlas',
        type=Path,
        metavar='DIR',
        help='regions.nii.gz and regions.tsv of another atlas, with frame.json if its '
        "coordinates are not the rat atlas' (default: rat or mouse, by species)",
    )
    add(
        '--saliency',
        choices=SALIENCY_METHODS,
        default=SALIENCY_METHODS[0],
        help='; '.join(f'{name}: {one.words}' for name, one in saliency_methods().items()),
    )
    add('--target', choices=TARGETS, default='brain', help='class to explain (brain)')
    add('--smooth', type=int, default=0, metavar='N', help='mean saliency of N noisy copies')
    add('--enhance-peak', type=float, default=2.0, metavar='Z', help='standard score kept (2)')
    add(
        '--enhance-width',
        type=float,
        default=0.5,
        metavar='Z',
        help='width of the range kept (0.5)',
    )
    add = parser.add_argument_group('further saliency maps').add_argument
    add('--explain', nargs='+', choices=TARGETS, default=[], help='saliency of these as well')
    add(
        '--explain-region',
        metavar='FILE|I,J,K',
        help='with --explain: only for the logits in this mask, or in this voxel',
    )
    add = parser.add_argument_group('how it runs').add_argument
    add('--device', default='auto', help='auto, cpu, cuda or cuda:N')
    add('--slices-per-job', type=int, default=0, metavar='N', help='slices of one job (all)')
    add(
        '--nprocs',
        type=int,
        help='scans at a time (one a core); of one scan processes, with --slices-per-job (1)',
    )
    add('--mem-gb', type=float, help='memory to use at most, GB')
    add('--plugin', help='Nipype plugin; default: Linear for one process, else MultiProc')
    add('--plugin-args', type=Path, metavar='FILE.yml', help='arguments of the plugin')
    add('--worker', metavar='NAME', help='what runs many scans: cf (default), slurm, sge, dask …')
    add('--worker-args', type=Path, metavar='FILE.yml', help='arguments of the worker')
    add('--retry-failed', action='store_true', help='run scans again that failed before')
    add('--clean', action='store_true', help='remove the cache of each scan that is finished')
    add('--stop-on-first-crash', action='store_true', help='start no other scan after a failure')
    add('--dry-run', action='store_true', help='print what would be done, run nothing')
    add(
        '--graph',
        type=Path,
        metavar='FILE',
        help='with --dry-run of one scan: draw its graph, .dot, or .svg and .png with Graphviz',
    )
    add('-v', '--verbose', action='store_true', help="show the engine's log")
    return parser


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    Parameters
    ----------
    argv : list of str, optional
        Arguments without the program's name; by default those of the process.

    Returns
    -------
    int
        0 all done, 1 some subject failed, 2 the call was wrong, 130 stopped by Ctrl-C, 143 by a
        TERM signal, 141 if nobody reads what it prints any more. Without `argv`, the process ends
        with it.
    """
    if argv is not None:
        return _main(list(argv))
    complete(_parser_of, COMMANDS)
    # The process is ours, and all that run below it are
    gc.set_threshold(COLLECT_FROM)
    _open_streams()
    with stopping() as stop:
        try:
            code = _main(sys.argv[1:])
        except KeyboardInterrupt:
            code = INTERRUPTED
        except Exception as error:
            # Libraries turn an interrupt into errors of their own
            if not stop.code:
                code = _crashed(error)
    for stream in (sys.stdout, sys.stderr):
        # Nobody may read it any more
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    leave(stop.code or code)


def _crashed(error: Exception) -> int:
    """Say that the program failed; the traceback is in a file."""
    import tempfile

    from secondglance.files.crashes import told_of_crash

    print(f'secondglance: {told_of_crash(error, Path(tempfile.gettempdir()))}', file=sys.stderr)
    return FAILED


def _open_streams() -> None:
    """Open what the caller closed, as ``2>&-`` does: a file would take its place, and its text."""
    for number, name in enumerate(('stdin', 'stdout', 'stderr')):
        try:
            os.fstat(number)
        except OSError:
            # The lowest number that is free is taken
            os.open(os.devnull, os.O_RDWR)
            setattr(sys, name, os.fdopen(number, 'w' if number else 'r', closefd=False))


def _main(arguments: list[str]) -> int:
    # What runs side by side is whole volumes, slices and donors: threads below would be in its way
    variables = {**ASKS_NO_NETWORK, 'OPENBLAS_NUM_THREADS': '1'}
    if not sys.warnoptions and not {'-v', '--verbose'} & set(arguments):
        # What a user must know is said in a sentence; other processes inherit this
        warnings.simplefilter('ignore')
        variables['PYTHONWARNINGS'] = 'ignore'
    with environment(**variables):
        return _answered(arguments)


def _answered(arguments: list[str]) -> int:
    """Run a command; a fault is said in a sentence."""
    command = 'run'
    if arguments and arguments[0] in COMMANDS:
        command = arguments.pop(0)
    try:
        _check_here()
        if command == 'run':
            return _run(arguments)
        return _module(command).main(_parser_of(command).parse_args(arguments))
    except SurroundingsError as error:
        print(f'secondglance: {error}', file=sys.stderr)
        return FAILED
    except InputError as error:
        print(f'secondglance: {error}', file=sys.stderr)
        return WRONG_CALL
    except BrokenPipeError:
        # `| head` has read enough: the code is a shell's for a program that SIGPIPE ended
        return UNREAD
    except OSError as error:
        # A full disk, a folder that is gone: not what was asked for is wrong
        reason = error.strerror or type(error).__name__
        where = error.filename or 'A file'
        print(
            f'secondglance: {where} cannot be used ({reason}): correct it, or choose another.',
            file=sys.stderr,
        )
        return FAILED
    except KeyboardInterrupt:
        print(STOPPED, file=sys.stderr)
        return INTERRUPTED
    except SystemExit as stop:  # argparse has already spoken
        return stop.code if isinstance(stop.code, int) else WRONG_CALL


def _module(command: str) -> ModuleType:
    """Import the module of a command other than ``run``."""
    return importlib.import_module(f'secondglance.commands.{command.replace("-", "_")}')


def _parser_of(command: str) -> argparse.ArgumentParser:
    """Build the parser of a command."""
    if command == 'run':
        return build_parser()
    parser = Parser(prog=f'secondglance {command}')
    _module(command).add_arguments(parser)
    return parser


def _check_here() -> None:
    try:
        Path.cwd()
    except FileNotFoundError as error:
        raise InputError('The folder of this call is no longer there: change to one.') from error


def _run(arguments: list[str]) -> int:
    from secondglance.commands.run import run

    return run(parse_run(build_parser(), arguments))


if __name__ == '__main__':
    sys.exit(main())
