"""``secondglance evaluate``: how well weights do, on labelled scans or simulated animals."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from secondglance.commands.following import follow
from secondglance.commands.words import counted
from secondglance.imaging.errors import InputError
from secondglance.imaging.species import AUTO, BRAIN_SIZE
from secondglance.models.choices import SECOND_GLANCES

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from secondglance.files.labelled import Labelled
    from secondglance.imaging.placement.donors import Donor
    from secondglance.imaging.pose import Pose
    from secondglance.models.weights import LoadedModel
    from secondglance.reports.scores import Outlined


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = (
        'Judge weights by scans that a person has labelled (--bids-dir), or by simulated animals. '
        'Every scan is segmented without a mask, with the mask of each method, and, where its '
        'tissues are labelled, with the mask drawn by hand. Inside a mask the second glance '
        'segments the tissues, as in `run`. Simulated animals judge the network of the first '
        'glance alone.'
    )
    parser.add_argument('--weights', type=Path, help='default: those that ship')
    parser.add_argument('--refinement', type=Path, help='default: that which ships')
    parser.add_argument('--second-weights', type=Path, help='default: those that ship')
    parser.add_argument(
        '--second-glance',
        choices=SECOND_GLANCES,
        default=SECOND_GLANCES[0],
        help='method of the tissues inside the mask (%(default)s)',
    )
    parser.add_argument(
        '--bids-dir',
        type=Path,
        metavar='DIR',
        help='scans with tissue labels (_dseg) or brain masks (_desc-brain_mask) in '
        'derivatives/reference or in --reference',
    )
    parser.add_argument('--reference', type=Path, metavar='DIR', help='derivatives with labels')
    parser.add_argument('--suffix', default='T2w', help='which image of each (T2w)')
    parser.add_argument('--subject', nargs='+', metavar='LABEL', help='default: all')
    parser.add_argument('--species', choices=(AUTO, *BRAIN_SIZE), default=AUTO)
    parser.add_argument(
        '--donor', type=Path, nargs='+', metavar='DIR', help='default: the bank that ships'
    )
    parser.add_argument(
        '--atlas', type=Path, metavar='DIR', help='simulate animals from these; default: shipped'
    )
    parser.add_argument('--animals', type=int, default=6, help='simulated animals (6)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same animals (0)')
    parser.add_argument(
        '--include-trained',
        action='store_true',
        help='also score the animals that the cards of the weights name; they are left out, for '
        'their scores say nothing of other animals',
    )
    parser.add_argument('--device', default='auto', help='auto, cpu, cuda or cuda:N (auto)')
    parser.add_argument(
        '--output',
        type=Path,
        metavar='DIR',
        help='folder for scores.html, scores.tsv and summary.tsv',
    )


def main(args: argparse.Namespace) -> int:
    """Print the figures; 0 when done."""
    if args.bids_dir and args.atlas:
        raise InputError('Name either --bids-dir or --atlas, not both.')
    if args.animals < 1:
        raise InputError(f'--animals {args.animals} is too few; simulate at least 1.')
    from secondglance.models.device import resolve_device
    from secondglance.models.weights import (
        REFINEMENT,
        SECOND_GLANCE,
        default_refinement,
        default_second_glance,
        default_weights,
        load_weights,
    )

    args.device = resolve_device(args.device)

    model = load_weights(args.weights or default_weights(), args.device)
    used = {'weights': model.checksum}
    if args.bids_dir:
        second = None
        used['second_glance'] = args.second_glance
        if args.second_glance == 'network':
            second = load_weights(
                args.second_weights or default_second_glance(), args.device, SECOND_GLANCE
            )
            used['second_weights'] = second.checksum
        refinement = load_weights(args.refinement or default_refinement(), args.device, REFINEMENT)
        rows, pictures = _on_scans(model, refinement, second, args)
    else:
        rows, pictures = _on_animals(model, args), []
    from secondglance.reports.scores import summary_of, write_scores_page, write_table

    summary = summary_of(rows)
    for line in summary:
        print(
            f'{line["condition"]:<14} {line["label"]:<6} '
            f'Dice {line["dsc_mean"]:.3f}{spread_after(line["dsc_sd"], 3)}, '
            f'least {line["dsc_least"]:.3f}'
            + _of_volumes(line)
            + f'; {counted(line["n_animals"], "animal")}, {line["n_failed"]} failed'
        )
    if args.output:
        args.output.mkdir(parents=True, exist_ok=True)
        write_table(rows, args.output / 'scores.tsv')
        record = [{**line, **used} for line in summary]
        write_table(record, args.output / 'summary.tsv')
        page = args.output / 'scores.html'
        write_scores_page(rows, summary, pictures, page)
        print(f'Page and tables: {page}')
    return 0


def _of_volumes(line: dict) -> str:
    """What a line of the summary says of distances and volumes, where they were measured."""
    if 'hd95_mean' not in line:
        return ''
    error, spread = (100 * line[f'volume_error_{of}'] for of in ('mean', 'sd'))
    return f', HD95 {line["hd95_mean"]:.2f} mm, volume {error:+.1f}{spread_after(spread, 1)} %'


def spread_after(deviation: float, digits: int) -> str:
    """Write the standard deviation that follows a mean.

    Parameters
    ----------
    deviation : float
        NaN of one animal.
    digits : int
        After the point.

    Returns
    -------
    str
        Nothing where there is no deviation.

    Examples
    --------
    >>> spread_after(0.0123, 3), spread_after(float('nan'), 3)
    (' ± 0.012', '')
    """
    return f' ± {deviation:.{digits}f}' if math.isfinite(deviation) else ''


def _on_animals(model: LoadedModel, args: argparse.Namespace) -> list[dict]:
    import numpy as np

    from secondglance.data import atlas_path
    from secondglance.imaging.labels import TISSUES
    from secondglance.models.training.evaluation import BACKGROUNDS, evaluation_slices, score
    from secondglance.simulation.animal import draw_animal
    from secondglance.simulation.atlas import read_atlas

    atlas = read_atlas(args.atlas or atlas_path())
    rows = []
    for number in follow(range(args.animals), 'simulated animal'):
        # Another stream than training's, so that no seed draws an animal of the training.
        rng = np.random.default_rng([args.seed, 5, number])
        animal = draw_animal(atlas, rng, model.spacing)
        for background in BACKGROUNDS:
            images, labels = evaluation_slices(animal, rng, background=background)
            found = score(model.net, images, labels)
            rows += [
                {
                    'animal': f'simulated-{number:03d}',
                    'scan': f'simulated-{number:03d}',
                    'condition': background,
                    'label': label,
                    'dsc': float(dice),
                }
                for label, dice in zip((*TISSUES, 'brain'), found, strict=True)
            ]
    return rows


def _on_scans(
    model: LoadedModel,
    refinement: LoadedModel,
    second: LoadedModel | None,
    args: argparse.Namespace,
) -> tuple[list[dict], list[Outlined]]:
    import nibabel as nib

    from secondglance.data import donor_paths
    from secondglance.files.labelled import find_labelled
    from secondglance.imaging.metrics import relative_error, scores
    from secondglance.models.donors import read_donors
    from secondglance.models.pose import estimate_pose
    from secondglance.reports.scores import Outlined

    device = args.device
    donors = read_donors(model, args.donor or donor_paths(), device=device)
    rows, pictures = [], []
    labelled = list(find_labelled(args.bids_dir, args.suffix, args.subject, args.reference))
    taught = _trained_on(labelled, second is not None, args)
    if not args.include_trained:
        labelled = [found for found in labelled if found.scan.subject not in taught]
    for found in follow(labelled, 'scan', named=lambda found: found.scan.name):
        size = nib.affines.voxel_sizes(found.affine)
        pose = estimate_pose(
            model, found.voxels, found.affine, species=args.species, device=device
        )
        grid = pose.grid(found.voxels.shape, found.affine)
        # An animal is never its own donor
        others = [donor for donor in donors if donor.animal != found.scan.subject]
        segmented = _segmented(model, refinement, second, found, pose, others, args)
        for condition, labels in segmented:
            for value, label in ((None, 'brain'), (1, 'WM'), (2, 'GM'), (3, 'CSF')):
                if value is None:
                    pair = labels > 0, found.labels > 0
                elif found.tissues:
                    pair = labels == value, found.labels == value
                else:
                    continue
                rows.append(
                    {
                        'animal': found.scan.subject,
                        'scan': found.scan.name,
                        'condition': condition,
                        'label': label,
                        'trained_on': found.scan.subject in taught,
                        **scores(*pair, size),
                        'volume_error': relative_error(*pair),
                    }
                )
            pictures.append(
                Outlined(
                    f'{found.scan.name}, {condition}',
                    grid.to_stack(found.voxels),
                    grid.to_stack(labels > 0) >= 0.5,
                    grid.to_stack(found.labels > 0) >= 0.5,
                )
            )
    return rows, pictures


def _trained_on(
    labelled: Sequence[Labelled], with_second: bool, args: argparse.Namespace
) -> set[str]:
    """Find the animals that the weights were trained on, and say what that means."""
    from secondglance.files.digests import digest_of_voxels
    from secondglance.models.weights import default_refinement, default_second_glance, trained_on

    known = trained_on(args.weights) | trained_on(args.refinement or default_refinement())
    if with_second:
        known |= trained_on(args.second_weights or default_second_glance())
    taught = {
        found.scan.subject
        for found in labelled
        if {found.scan.name, digest_of_voxels(found.voxels)} & known
    }
    if known and not any(one.startswith('voxels:') for one in known):
        print(
            'The cards of the weights have the names of the scans that they were trained on, not '
            'their content: a copy of another name is not recognised.'
        )
    if not taught:
        return taught
    names = ', '.join(sorted(taught))
    if args.include_trained:
        print(f'The weights were trained on {names}: their scores say nothing of other animals.')
        return taught
    print(
        f'Left out, because the weights were trained on them: {names} '
        '(--include-trained scores them, too).'
    )
    if all(found.scan.subject in taught for found in labelled):
        raise InputError(
            'The weights were trained on every animal here: give others, or '
            '--include-trained to score them all the same.'
        )
    return taught


def _segmented(
    model: LoadedModel,
    refinement: LoadedModel,
    second: LoadedModel | None,
    found: Labelled,
    pose: Pose,
    donors: Sequence[Donor],
    args: argparse.Namespace,
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Labels of one scan under every condition: ``(condition, (X, Y, Z) labels)``."""
    from secondglance.imaging.mask.selection import candidate_masks
    from secondglance.imaging.tissues import tissues_inside
    from secondglance.models.segment import first_glance, gather_evidence, look_again

    device = args.device
    grid = pose.grid(found.voxels.shape, found.affine)
    head = pose.stack(grid, found.voxels, found.labels)
    first = first_glance(model, head.images, device=device)

    def tissues(mask: NDArray[np.bool_]) -> NDArray[np.uint8]:
        inside, _ = look_again(
            args.second_glance,
            found.voxels,
            mask,
            found.affine,
            pose,
            first=first,
            model=model,
            network=second,
            device=device,
        )
        return inside.labels

    volume = grid.to_native(first.probabilities)
    yield 'no mask', tissues_inside(volume, volume[..., 0] < 0.5).labels
    masks: dict[str, NDArray] = {}
    for similarity in (False, True):
        evidence, _ = gather_evidence(
            first, refinement, head, donors, similarity=similarity, device=device
        )
        of_kind = candidate_masks(evidence, head.spacing, head.thickness, similarity=similarity)
        masks |= {name: mask for name, mask in of_kind.items() if name not in masks}
    for method, mask in masks.items():
        yield method, tissues(grid.to_native(mask) >= 0.5)
    if found.tissues:
        yield 'by hand', tissues(found.labels > 0)


if __name__ == '__main__':
    _parser = argparse.ArgumentParser(description=__doc__)
    add_arguments(_parser)
    sys.exit(main(_parser.parse_args()))
