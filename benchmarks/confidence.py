"""Whether a bad mask is noticed: labelled heads, half of them with simulated failures.

``python benchmarks/confidence.py [--simulated 100] [--bids-dir RAT_EPI] [--weights FILE] …``

Simulated heads are of animals that no network was trained on. Every second head has a failure, all
kinds equally often. The mask is that of ``auto``, as a user gets it. Printed: area under the curve
by which the probability separates masks below a Dice of 0.95 from others, how often masks of a
probability are good, and every mask below 0.9 that was not flagged.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from secondglance.data import atlas_path, donor_paths
from secondglance.imaging.mask.quality import GOOD_DICE
from secondglance.imaging.mask.selection import select_mask
from secondglance.imaging.metrics import dice
from secondglance.imaging.pose import HeadStack
from secondglance.models.choices import MASK_METHODS
from secondglance.models.donors import read_donors
from secondglance.models.segment import first_glance, gather_evidence
from secondglance.models.training.scans import read_labelled_scans
from secondglance.models.weights import (
    REFINEMENT,
    calibration_of,
    default_refinement,
    default_weights,
    load_weights,
)
from secondglance.reports.verdict import placement_warnings
from secondglance.simulation.animal import draw_animal
from secondglance.simulation.atlas import read_atlas
from secondglance.simulation.failures import FAILURES, simulate_failure
from secondglance.simulation.head_stack import draw_head


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--simulated', type=int, default=100, metavar='N', help='heads (100)')
    parser.add_argument('--atlas', type=Path, default=atlas_path())
    parser.add_argument('--bids-dir', type=Path, help='real heads as well')
    parser.add_argument('--suffix', default='sbref')
    parser.add_argument('--weights', type=Path, default=default_weights())
    parser.add_argument('--refinement', type=Path, default=default_refinement())
    args = parser.parse_args()
    model = load_weights(args.weights)
    refinement = load_weights(args.refinement, form=REFINEMENT)
    bank = read_donors(model, donor_paths())
    rows = []
    for k, (name, animal, head) in enumerate(heads_of(args, model)):
        rng = np.random.default_rng([k, 10])
        kind = FAILURES[k // 2 % len(FAILURES)] if k % 2 else 'as it is'
        if k % 2:
            head = simulate_failure(head, kind, rng)
        donors = [donor for donor in bank if not animal or donor.animal != animal]
        row = judge(model, refinement, head, donors)
        rows.append({'name': name, 'kind': kind, **row})
        print(
            name,
            kind,
            f'Dice {row["dice"]:.3f} sure {row["sure"]:.2f} {row["method"]}',
            'flagged' if row['flags'] else '',
            flush=True,
        )
    tell(rows)


def heads_of(args, model):
    """Give the name, the animal and the stack of every head."""
    atlas = read_atlas(args.atlas)
    for number in range(args.simulated):
        rng = np.random.default_rng([number, 9])
        yield f'simulated-{number:03d}', '', draw_head(draw_animal(atlas, rng, 0.3, 80), rng)
    if args.bids_dir:
        for one in read_labelled_scans(args.bids_dir, args.suffix, model.spacing) * 2:
            labels = (one.labels != 0).astype(np.uint8)
            yield one.name, one.animal, HeadStack(one.images, one.positions, model.spacing, labels)


def judge(model, refinement, head, donors):
    """Find the brain as a user's run does, and compare it with the truth."""
    first = first_glance(model, head.images)
    evidence, _ = gather_evidence(first, refinement, head, donors)
    calibration = calibration_of(refinement.metadata)
    taken = select_mask(MASK_METHODS[0], evidence, head.spacing, head.thickness, calibration)
    mask, truth = taken.mask >= 0.5, head.brain
    told = {
        'Method': taken.method,
        'MethodAskedFor': MASK_METHODS[0],
        'Confidence': taken.confidence,
        'BrainVolume': float(mask.sum()) * evidence.voxel_mm3,
    }
    return {
        'dice': dice(mask, truth) if truth.any() else 0.0,
        'sure': taken.confidence,
        'method': taken.method,
        'flags': placement_warnings([], told),
    }


def tell(rows):
    """Print what the figures are worth."""
    sure = np.array([row['sure'] for row in rows])
    found = np.array([row['dice'] for row in rows])
    good = found >= GOOD_DICE
    if good.any() and not good.all():
        auc = stats.mannwhitneyu(sure[good], sure[~good]).statistic / (good.sum() * (~good).sum())
        print(
            f'\n{len(rows)} heads, {good.sum()} with a Dice of {GOOD_DICE} or more: AUC {auc:.3f}'
        )
    print('\n| probability | masks | of which good | mean Dice |')
    print('| --- | --- | --- | --- |')
    for low, high in ((0, 0.2), (0.2, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.001)):
        inside = (sure >= low) & (sure < high)
        if inside.any():
            share, mean = good[inside].mean(), found[inside].mean()
            print(
                f'| {low:.1f} to {min(high, 1):.1f} | {inside.sum()} | {share:.2f} | {mean:.3f} |'
            )
    print('\n| head | heads | mean Dice | flagged | below 0.9 and not flagged |')
    print('| --- | --- | --- | --- | --- |')
    for kind in dict.fromkeys(row['kind'] for row in rows):
        of_kind = [row for row in rows if row['kind'] == kind]
        silent = [row['name'] for row in of_kind if row['dice'] < 0.9 and not row['flags']]
        print(
            f'| {kind} | {len(of_kind)} | {np.mean([r["dice"] for r in of_kind]):.3f} | '
            f'{sum(bool(r["flags"]) for r in of_kind)} | {len(silent)} {" ".join(silent)} |'
        )


if __name__ == '__main__':
    main()
