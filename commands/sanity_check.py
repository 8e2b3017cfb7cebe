"""``secondglance sanity-check``: whether the saliency of some weights can be trusted."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance.commands.following import follow
from secondglance.imaging.errors import InputError
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.models.choices import SALIENCY_METHODS, TARGETS

if TYPE_CHECKING:
    from secondglance.imaging.pose import HeadStack
    from secondglance.models.weights import LoadedModel


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = (
        'Randomise the weights block by block, compare with edges and noise, delete and insert '
        'what is salient; say in plain words whether the saliency depends on what the network has '
        'learnt, and whether it places a mask better than edges do. Takes half a minute to a '
        'minute on one core, and says how far it is.'
    )
    add = parser.add_argument
    add('--image', type=Path, metavar='FILE', help='a head, one volume; default: a real rat')
    add(
        '--brain',
        type=Path,
        metavar='FILE',
        help='its brain mask; default: predicted by the network (the rat that ships has its own)',
    )
    add('--weights', type=Path, help='default: those that ship')
    add('--donor', type=Path, nargs='+', metavar='DIR', help='default: the bank that ships')
    add('--saliency', choices=SALIENCY_METHODS, default='guided')
    add('--target', choices=TARGETS, default='brain')
    add('--species', choices=(AUTO, *BRAIN_SIZE), default=AUTO)
    add('--slice-axis', choices=('auto', 'i', 'j', 'k'), default='auto')
    add('--device', default='auto', help='auto, cpu, cuda or cuda:N (auto)')
    add('--seed', type=int, default=0, help='of the random weights (0)')
    add('--output', type=Path, default=Path('sanity'), metavar='DIR', help='(./sanity)')


def main(args: argparse.Namespace) -> int:
    """Print the verdict; 0 when the checks ran, whatever they say."""
    from rich.console import Console

    from secondglance.data import donor_paths, example_rat
    from secondglance.files.bids import find_donor
    from secondglance.files.heads import read_head
    from secondglance.models.device import resolve_device
    from secondglance.models.donors import donor_pose
    from secondglance.models.saliency.sanity import check, check_names, verdicts
    from secondglance.models.weights import default_weights, load_weights, read_header
    from secondglance.reports.sanity import write_sanity

    if args.brain and not args.image:
        raise InputError('--brain belongs to an --image: name both.')
    image_path, brain_path = (args.image, args.brain) if args.image else example_rat()
    weights = args.weights or default_weights()
    device = resolve_device(args.device)
    model = load_weights(weights, device)

    head, species = _read_subject(
        model, image_path, brain_path, args.species, args.slice_axis, device
    )
    donors = [
        read_head(*pair, donor_pose(model, *pair, device))[0]
        for pair in map(find_donor, args.donor or donor_paths())
    ]
    console = Console()
    following = follow(check_names(model.net), 'check', named=str)
    found = check(
        model,
        head,
        donors,
        method=args.saliency,
        target=args.target,
        device=device,
        seed=args.seed,
        progress=lambda step: next(following),
    )
    next(following, None)
    judged = verdicts(found)
    facts = {
        'image': str(image_path.name),
        'species': species,
        'brain': 'drawn by hand' if brain_path else 'predicted by the network',
        'saliency': args.saliency,
        'target': args.target,
        'weights': f'{weights.name} {read_header(weights)["checksum"][:12]}',
    }
    try:
        page = write_sanity(found, judged, facts, args.output)
    except OSError as error:
        raise InputError(
            f'{args.output} cannot be written ({error.strerror}): choose another --output.'
        ) from error
    for verdict in judged:
        mark = '[green]yes[/]' if verdict.passed else '[red]no[/] '
        console.print(f'{mark}  [bold]{verdict.question}[/]')
        console.print(f'     {verdict.words}', markup=False, highlight=False)
    passed = sum(verdict.passed for verdict in judged)
    print(f'{passed} of {len(judged)} checks passed: {page}', file=sys.stdout)
    return 0


def _read_subject(
    model: LoadedModel,
    image_path: Path,
    brain_path: Path | None,
    species: str,
    slice_axis: str,
    device: str,
) -> tuple[HeadStack, str]:
    """Read the head, its brain from a mask or else from the network, and tell its species."""
    from dataclasses import replace

    import numpy as np

    from secondglance.files.heads import read_head
    from secondglance.files.nifti import read_volume
    from secondglance.files.nifti_header import check_geometry
    from secondglance.imaging.mask.cleaning import one_brain
    from secondglance.models.inference import predict
    from secondglance.models.pose import estimate_pose

    volume, voxels = read_volume(image_path)
    if voxels.ndim != 3:
        raise InputError(f'{image_path} has {voxels.shape[3]} volumes: give one, or their mean.')
    pose = estimate_pose(
        model,
        voxels,
        check_geometry(volume, voxels).affine,
        species=species,
        slice_axis=slice_axis,
        device=device,
    )
    head, _ = read_head(image_path, brain_path, pose)
    if head.labels is None:
        probability = 1 - predict(model, head.images, device)[:, 0]
        brain = one_brain(probability, head.spacing, head.thickness) >= 0.5
        head = replace(head, labels=brain.astype(np.uint8))
    if not head.brain.any():
        raise InputError(f'{image_path} shows no brain to place a mask on: is it a whole head?')
    return head, pose.species
