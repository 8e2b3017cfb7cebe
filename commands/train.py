"""``secondglance train``: train a network from an atlas, and on a lab's own labelled scans."""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondglance.commands.words import counted
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.models.training.recipes import RECIPES, Recipe

if TYPE_CHECKING:
    from secondglance.simulation.atlas import Atlas

SIGMA = (
    'SIGMA version 2 (GPL-3.0), Barrière et al. 2019, Nature Communications, '
    'doi 10.1038/s41467-019-13575-7'
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``secondglance train``."""
    from secondglance.files.extras import install_extra

    parser.description = (
        'Train a network on labelled scans (--bids-dir) and simulated animals, or on these alone. '
        'A line every few seconds has loss, validation Dice and the time left; the same call '
        'goes on where it was stopped. On two CPU cores fine-tune takes 5 to 10 minutes, robust '
        'one and a half to three hours, refine and second-glance longer; a GPU is used '
        'where there is one. Needs an extra: '
        f'{install_extra("train")}.'
    )
    parser.add_argument(
        '--atlas',
        type=Path,
        metavar='DIR',
        help='tissue maps: *gm.nii.gz, *wm.nii.gz, *csf.nii.gz, and where there are *skull.nii.gz '
        'and *out.nii.gz (default: the rat that ships)',
    )
    parser.add_argument(
        '--output', type=Path, required=True, metavar='FILE', help='weights, .safetensors'
    )
    parser.add_argument(
        '--recipe',
        choices=tuple(RECIPES),
        help='; '.join(f'{name}: {one.summary}' for name, one in RECIPES.items())
        + ' (default: robust, or fine-tune with --bids-dir)',
    )
    parser.add_argument(
        '--init-weights',
        type=Path,
        metavar='FILE',
        help='weights to go on from, .safetensors (default: for fine-tune those that ship, '
        'otherwise random ones)',
    )
    parser.add_argument(
        '--first',
        type=Path,
        metavar='FILE',
        help='with --recipe refine: weights of the first glance that is refined (those that ship)',
    )
    parser.add_argument(
        '--mouse-atlas',
        type=Path,
        metavar='DIR',
        help='of --recipe second-glance: tissue maps of a mouse, with frame.json, from which mice '
        'are simulated beside rats',
    )
    parser.add_argument(
        '--donor',
        type=Path,
        nargs='+',
        metavar='DIR',
        help='with --recipe refine: donors, folders with head and brain mask (those that ship); '
        'an animal is never its own donor, by the label at the end of the folder name',
    )
    parser.add_argument(
        '--bids-dir',
        type=Path,
        metavar='DIR',
        help='scans to train on, too: BIDS, with tissue labels (_dseg) or brain masks '
        '(_desc-brain_mask) in its derivatives/reference or in --reference',
    )
    parser.add_argument('--reference', type=Path, metavar='DIR', help='derivatives with labels')
    parser.add_argument('--suffix', default='T2w', help='which image of each (T2w)')
    parser.add_argument(
        '--subject', nargs='+', metavar='LABEL', help='animals to train on (default: all)'
    )
    parser.add_argument('--species', choices=(AUTO, *BRAIN_SIZE), default=AUTO)
    parser.add_argument('--steps', type=int, help='batches (default: by recipe)')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--animals', type=int, help='simulated animals (default: by recipe)')
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
    parser.add_argument(
        '--patience',
        type=int,
        default=0,
        metavar='N',
        help='stop after N checkpoints without gain (default: never)',
    )
    parser.add_argument(
        '--device', default='auto', help='auto, cpu, cuda (all GPUs) or cuda:N (%(default)s)'
    )
    parser.add_argument('--threads', type=int, metavar='N', help='CPU threads of torch')


def main(args: argparse.Namespace) -> int:
    """Train; return the exit status."""
    from secondglance.data import atlas_path
    from secondglance.files.extras import install_extra
    from secondglance.imaging.errors import InputError

    if args.output.suffix != '.safetensors':
        raise InputError(f'--output {args.output} must end with .safetensors.')
    atlas = args.atlas or atlas_path()
    if not atlas.is_dir():
        raise InputError(f'--atlas {atlas} is not a directory; name one with tissue maps.')
    if args.steps is not None and args.steps < 1:
        raise InputError(f'--steps {args.steps} is too few; train for at least 1.')
    missing = [name for name in ('lightning', 'monai') if find_spec(name) is None]
    if missing:
        raise InputError(
            f'Training needs {missing[0]}, which is not installed: {install_extra("train")}.'
        )
    import torch

    from secondglance.models.device import resolve_device
    from secondglance.models.training.plan import weights_to_start_from
    from secondglance.models.training.scans import read_labelled_scans
    from secondglance.models.weights import FORMAT, REFINEMENT, SECOND_GLANCE, default_weights
    from secondglance.simulation.atlas import read_atlas

    # Our own lines say how far it is; Lightning's talk of hardware it did not find.
    logging.getLogger('lightning.pytorch').setLevel(logging.WARNING)
    warnings.filterwarnings('ignore', module='lightning')
    if args.threads:
        torch.set_num_threads(args.threads)
    known = args.init_weights or args.bids_dir
    recipe = args.recipe or ('fine-tune' if known else 'robust')
    chosen = RECIPES[recipe]
    if chosen.from_shipped and args.init_weights is None:
        args.init_weights = default_weights()
    form = {'refinement': REFINEMENT, 'second glance': SECOND_GLANCE}.get(chosen.trains, FORMAT)
    # Lightning takes two seconds to load: what is wrong with the call is told before
    weights_to_start_from(args.init_weights, chosen, form)
    args.steps = chosen.steps if args.steps is None else args.steps
    args.animals = chosen.n_animals if args.animals is None else args.animals
    scans: list[Any] = []
    if args.bids_dir and chosen.trains != 'second glance':
        scans = read_labelled_scans(
            args.bids_dir,
            args.suffix,
            chosen.spacing,
            subjects=args.subject,
            reference=args.reference,
            species=args.species,
        )
        animals = counted(len({one.animal for one in scans}), 'animal')
        print(f'{counted(len(scans), "scan")} of {animals} to train on.')
    given: dict[str, Any] = {
        'steps': args.steps,
        'seed': args.seed,
        'n_animals': args.animals,
        'checkpoint_dir': args.checkpoint_dir,
        'resume': not args.no_resume,
        'checkpoint_every': args.checkpoint_every,
        'scans': scans,
        'init_weights': args.init_weights,
        'patience': args.patience,
        'device': resolve_device(args.device),
        'source': args.source,
        'command': shlex.join(_call(args, recipe, atlas)),
    }
    train = {'refinement': _refine, 'second glance': _second_glance}.get(
        chosen.trains, _segmentation
    )
    train(args, read_atlas(atlas), {'recipe': chosen, **given})
    print(f'Weights: {args.output}')
    if args.bids_dir:
        print(f'next: {shlex.join(next_call(args, chosen))}')
    return 0


def _simulated(values: dict) -> str:
    """How many animals a test had."""
    return counted(values['n_animals'], 'simulated animal')


def next_call(args: argparse.Namespace, recipe: Recipe) -> list[str]:
    """Write the call that judges the weights by the animals that were not trained on.

    Parameters
    ----------
    args : argparse.Namespace
        Of a training on the scans of a data set.
    recipe : Recipe
        What was trained.

    Returns
    -------
    list of str
        Words of a call of ``secondglance evaluate``.
    """
    option = {'refinement': '--refinement', 'second glance': '--second-weights'}
    call = ['secondglance', 'evaluate', option.get(recipe.trains, '--weights'), str(args.output)]
    call += ['--bids-dir', str(args.bids_dir), '--suffix', args.suffix]
    if args.reference:
        call += ['--reference', str(args.reference)]
    return [*call, '--output', 'scores']


def _segmentation(args: argparse.Namespace, atlas: Atlas, given: dict) -> None:
    """Train a first glance."""
    from secondglance.models.training.segmentation import train_segmentation

    card = train_segmentation(atlas, args.output, **{**given, 'recipe': given['recipe'].name})
    for mask, values in card['test_dice'].items():
        tissues = ', '.join(
            f'{name} {v["mean"]:.3f} ± {v["sd"]:.3f}'
            for name, v in values.items()
            if name != 'n_animals'
        )
        print(f'Test Dice of {_simulated(values)}, {mask}: {tissues}')


def _refine(args: argparse.Namespace, atlas: Atlas, given: dict) -> None:
    """Train a refinement."""
    from secondglance.data import donor_paths
    from secondglance.models.donors import read_donors
    from secondglance.models.weights import default_weights, load_weights

    first = load_weights(args.first or default_weights())
    donors = read_donors(first, args.donor or donor_paths())
    from secondglance.models.training.refinement import train_refinement

    card = train_refinement(atlas, args.output, first=first, donors=donors, **given)
    for name, values in card['test_dice'].items():
        print(
            f'Test Dice of {_simulated(values)}, {values["n_heads"]} heads, {name}: '
            f'{values["mean"]:.3f} ± {values["sd"]:.3f}, least {values["least"]:.3f}'
        )


def _second_glance(args: argparse.Namespace, atlas: Atlas, given: dict) -> None:
    """Train a second glance on simulated animals of an atlas, or two, and on labelled scans."""
    from secondglance.files.regions import read_frame
    from secondglance.models.training.placed_scans import read_placed_scans
    from secondglance.simulation.atlas import read_atlas
    from secondglance.simulation.placed_stack import atlas_at_rat_size

    scans = []
    for folder in [args.bids_dir] if args.bids_dir else []:
        scans = read_placed_scans(
            folder, args.suffix, args.subject, args.reference, species=args.species
        )
        print(f'{counted(len(scans), "scan")} with tissue labels to train on.')
    from secondglance.models.training.second_glance import Source, train_second_glance

    sources = [Source('rat', atlas)]
    if args.mouse_atlas:
        mouse = atlas_at_rat_size(read_atlas(args.mouse_atlas), read_frame(args.mouse_atlas))
        sources.append(Source('mouse', mouse, 'mouse'))
    card = train_second_glance(sources, args.output, **{**given, 'scans': scans})
    print('\n'.join(told_of_second_glance(card['test'])))


def told_of_second_glance(scores: dict[str, dict[str, float]]) -> list[str]:
    """Write how a second glance did on simulated animals that it was not trained on.

    Parameters
    ----------
    scores : dict
        Of the card: ``mean`` and ``sd`` of ``place``, of each tissue and of their ``mean``.

    Returns
    -------
    list of str
        Two lines.

    Examples
    --------
    >>> for line in told_of_second_glance(
    ...     {'place': {'mean': 0.5, 'sd': 0.1}, 'WM': {'mean': 0.8, 'sd': 0.02}}
    ... ):
    ...     print(line)
    Test Dice of simulated animals: WM 0.800 ± 0.020
    Test of places in the atlas: 0.500 ± 0.100; exp(−median distance in mm), 1 is exact
    """
    told = {name: f'{one["mean"]:.3f} ± {one["sd"]:.3f}' for name, one in scores.items()}
    place = told.pop('place')
    dice = ', '.join(f'{name} {words}' for name, words in told.items())
    return [
        f'Test Dice of simulated animals: {dice}',
        f'Test of places in the atlas: {place}; exp(−median distance in mm), 1 is exact',
    ]


def _call(args: argparse.Namespace, recipe: str, atlas: Path) -> list[str]:
    """The call that makes the same weights again, without the folders of this machine."""
    call = ['secondglance', 'train', '--recipe', recipe, '--atlas', atlas.name]
    call += ['--output', args.output.name, '--steps', str(args.steps), '--seed', str(args.seed)]
    call += ['--animals', str(args.animals)]
    if args.init_weights:
        call += ['--init-weights', args.init_weights.name]
    if args.first:
        call += ['--first', args.first.name]
    if args.mouse_atlas:
        call += ['--mouse-atlas', args.mouse_atlas.name]
    if args.donor:
        call += ['--donor', *(folder.name for folder in args.donor)]
    if args.bids_dir:
        call += ['--bids-dir', args.bids_dir.name, '--suffix', args.suffix]
    if args.subject:
        call += ['--subject', *args.subject]
    if args.reference:
        call += ['--reference', args.reference.name]
    if args.species != AUTO:
        call += ['--species', args.species]
    if args.patience:
        every = str(args.checkpoint_every)
        call += ['--patience', str(args.patience), '--checkpoint-every', every]
    return call


if __name__ == '__main__':
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
