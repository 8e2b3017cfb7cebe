"""``secondglance train``: train the segmentation network from an atlas."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import warnings
from pathlib import Path

SIGMA = (
    'SIGMA version 2 (GPL-3.0), Barrière et al. 2019, Nature Communications, '
    'doi 10.1038/s41467-019-13575-7'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``secondglance train``."""
    parser.add_argument(
        '--atlas',
        type=Path,
        required=True,
        metavar='DIR',
        help='tissue maps: *gm.nii.gz, *wm.nii.gz, *csf.nii.gz, and where there are *skull.nii.gz '
        'and *out.nii.gz',
    )
    parser.add_argument(
        '--output', type=Path, required=True, metavar='FILE', help='weights, .safetensors'
    )
    parser.add_argument('--recipe', choices=('default', 'paper'), default='default')
    parser.add_argument('--steps', type=int, default=8000, help='batches (default: %(default)s)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--animals', type=int, default=36, help='simulated animals (default: %(default)s)'
    )
    parser.add_argument(
        '--checkpoint-dir',
        type=Path,
        metavar='DIR',
        help='state to resume from (default: beside the output)',
    )
    parser.add_argument(
        '--checkpoint-every', type=int, default=200, metavar='STEPS', help='(default: %(default)s)'
    )
    parser.add_argument(
        '--no-resume', action='store_true', help='start afresh although there is a checkpoint'
    )
    parser.add_argument(
        '--source',
        default=SIGMA,
        help='what the atlas is, and its licence, for the model card (default: %(default)s)',
    )
    parser.add_argument('--device', default='cpu', help='cpu or cuda (default: %(default)s)')
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads of torch')


def main(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    from secondglance.imaging.errors import InputError

    if args.output.suffix != '.safetensors':
        raise InputError(f'--output {args.output} must end with .safetensors.')
    if not args.atlas.is_dir():
        raise InputError(f'--atlas {args.atlas} is not a directory; name one with tissue maps.')
    try:
        import lightning  # noqa: F401
        import monai  # noqa: F401
        import torch
    except ImportError as error:
        raise InputError(
            f'Training needs {error.name}; install it with `pip install secondglance[train]`.'
        ) from error
    from secondglance.models.synthesis import read_atlas
    from secondglance.models.training import train

    # Our own lines say how far it is; Lightning's talk of hardware it did not find.
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module='lightning')
    if args.threads:
        torch.set_num_threads(args.threads)
    call = ['secondglance', 'train', '--recipe', args.recipe, '--atlas', args.atlas.name]
    call += ['--output', args.output.name, '--steps', str(args.steps), '--seed', str(args.seed)]
    call += ['--animals', str(args.animals)]
    card = train(
        read_atlas(args.atlas),
        args.output,
        recipe=args.recipe,
        steps=args.steps,
        seed=args.seed,
        n_animals=args.animals,
        checkpoint_dir=args.checkpoint_dir,
        resume=not args.no_resume,
        checkpoint_every=args.checkpoint_every,
        device=args.device,
        source=args.source,
        command=shlex.join(call),
    )
    for mask, values in card['test_dice'].items():
        tissues = ', '.join(
            f'{name} {v["mean"]:.3f} ± {v["sd"]:.3f}'
            for name, v in values.items()
            if name != 'n_animals'
        )
        print(f'Test Dice of {values["n_animals"]} animals, {mask}: {tissues}')
    print(f'Weights: {args.output}')
    return 0


if __name__ == '__main__':
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
