"""``secondglance evaluate``: how well weights segment, on simulated animals or labelled scans."""

import argparse
import json
from pathlib import Path

from secondglance.imaging.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command."""
    parser.description = (
        'Judge the second glance by itself: the background of each slice is removed with the '
        'reference, and the network segments the rest. '
        'For the whole method on scans use `secondglance run --reference`.'
    )
    parser.add_argument('--weights', type=Path, help='default: those that ship')
    parser.add_argument(
        '--atlas', type=Path, metavar='DIR', help='simulate animals from these; default: shipped'
    )
    parser.add_argument('--animals', type=int, default=6, help='simulated animals (6)')
    parser.add_argument('--seed', type=int, default=0, help='same seed, same animals (0)')
    parser.add_argument(
        '--image', type=Path, nargs='+', default=[], metavar='NIFTI', help='scans, instead'
    )
    parser.add_argument(
        '--reference',
        type=Path,
        nargs='+',
        default=[],
        metavar='NIFTI',
        help='their labels in the same order: 0 background, 1 WM, 2 GM, 3 CSF',
    )
    parser.add_argument('--slice-axis', choices=('auto', 'i', 'j', 'k'), default='auto')
    parser.add_argument('--device', default='cpu', help='cpu or cuda (cpu)')
    parser.add_argument('--output', type=Path, metavar='FILE', help='figures as .json, too')


def main(args: argparse.Namespace) -> int:
    """Print the figures; 0 when done."""
    if len(args.image) != len(args.reference):
        raise InputError(
            f'{len(args.image)} --image and {len(args.reference)} --reference; name as many.'
        )
    if args.image and args.atlas:
        raise InputError('Name either --atlas or --image and --reference, not both.')
    if args.animals < 1:
        raise InputError(f'--animals {args.animals} is too few; simulate at least 1.')
    from secondglance.models.weights import default_weights, load_weights

    path = args.weights or default_weights()
    model = load_weights(path, args.device)
    results = _on_scans(model, args) if args.image else _on_animals(model, args)
    for title, figures in results.items():
        dice = ', '.join(
            f'{name} {v["mean"]:.3f} ± {v["sd"]:.3f}'
            for name, v in figures.items()
            if name != 'n_animals'
        )
        print(f'Dice, {title}, n = {figures["n_animals"]}: {dice}')
    if args.output:
        record = {'weights': path.name, 'checksum': model.checksum, 'dice': results}
        args.output.write_text(json.dumps(record, indent=2) + '\n', encoding='utf-8')
    return 0


def _on_animals(model, args: argparse.Namespace) -> dict[str, dict]:
    import numpy as np

    from secondglance.data import atlas_path
    from secondglance.models.evaluation import BACKGROUNDS, evaluation_slices, score, summarise
    from secondglance.models.synthesis import draw_animal, read_atlas

    atlas = read_atlas(args.atlas or atlas_path())
    scores: dict[str, list] = {background: [] for background in BACKGROUNDS}
    for number in range(args.animals):
        # Another stream than training's, so that no seed brings back an animal it has seen.
        rng = np.random.default_rng([args.seed, 5, number])
        animal = draw_animal(atlas, rng, model.spacing)
        for background, found in scores.items():
            images, labels = evaluation_slices(animal, rng, background=background)
            found.append(score(model.net, images, labels))
    return {mask: summarise(np.array(found)) for mask, found in scores.items()}


def _on_scans(model, args: argparse.Namespace) -> dict[str, dict]:
    import numpy as np
    import torch

    from secondglance.imaging.slices import slice_grid
    from secondglance.interfaces.checks import read_volume
    from secondglance.models.evaluation import dice_per_class, summarise
    from secondglance.models.inference import predict

    scores = []
    for image_path, reference_path in zip(args.image, args.reference, strict=True):
        image, voxels = read_volume(image_path)
        labels = read_volume(reference_path)[1].squeeze()
        # Of a series the first volume; one is enough to judge the network.
        voxels = voxels if voxels.ndim == 3 else voxels[..., 0]
        if labels.shape != voxels.shape:
            raise InputError(
                f'Reference {reference_path} has shape {labels.shape}, but {image_path} has '
                f'{voxels.shape}; resample it to the grid of the image.'
            )
        if not set(np.unique(labels)) <= {0, 1, 2, 3} or labels.max() < 2:
            raise InputError(
                f'Reference {reference_path} must hold 0 background, 1 WM, 2 GM and 3 CSF.'
            )
        grid = slice_grid(voxels.shape, image.affine, model.spacing, args.slice_axis)
        mask = grid.to_stack(labels > 0, order=0) > 0.5
        probabilities = predict(model, grid.to_stack(voxels) * mask, args.device)
        native = np.stack([grid.to_native(probabilities[:, c]) for c in range(4)])
        found = torch.from_numpy(native.argmax(axis=0))
        scores.append(dice_per_class(found, torch.from_numpy(labels.astype(np.int64))))
    return {'reference mask': summarise(np.array(scores))}
