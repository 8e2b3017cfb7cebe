"""Training of the refinement: first glances are computed once, then used in batches."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from secondglance.imaging.grids import slices_apart
from secondglance.imaging.mask.cleaning import one_brain
from secondglance.imaging.metrics import dice
from secondglance.imaging.placement.donors import Donor
from secondglance.imaging.pose import HeadStack
from secondglance.models.brain_refinement import (
    N_CHANNELS,
    refine_channels,
    refined_logits,
    refinement_channels,
)
from secondglance.models.pace import paced
from secondglance.models.training.calibration import Judged, calibrate, judge_masks
from secondglance.models.training.evaluation import spread
from secondglance.models.training.loop import AveragedTraining, SeededBatches, TrainingRun
from secondglance.models.training.plan import Plan
from secondglance.models.training.recipes import RECIPES, Recipe
from secondglance.models.training.refinement_samples import (
    RefinementSample,
    draw_refinement_samples,
    load_sample,
    rescan,
    sample_of_head,
    save_sample,
)
from secondglance.models.training.scans import LabelledScan
from secondglance.models.unet import UNet
from secondglance.models.weights import REFINEMENT, LoadedModel, load_weights
from secondglance.simulation.animal import Animal, draw_animal
from secondglance.simulation.atlas import Atlas
from secondglance.simulation.failures import FAILURES, simulate_failure
from secondglance.simulation.head_stack import draw_head

HEADS_EACH = 6
"""Heads that are drawn of every simulated animal."""


SCANS_EACH = 5
"""Samples of each labelled scan: one as it is, the others through simulated scanners."""


class RefinementBatches(SeededBatches):
    """Slices of simulated heads and of labelled scans, with their first glance."""

    def __init__(
        self,
        heads: list[RefinementSample],
        known: list[RefinementSample],
        seed: int,
        recipe: Recipe,
        start: int,
    ) -> None:
        super().__init__(seed, start)
        self.heads, self.known, self.recipe = heads, known, recipe

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw input channels and truth of one step."""
        recipe = self.recipe
        return draw_refinement_samples(
            self.heads, rng, recipe.batch_size, recipe.side, self.known, recipe.scan_share
        )


class RefinementTraining(AveragedTraining):
    """The refinement and its loss.

    Parameters
    ----------
    recipe : Recipe
    steps : int
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        from monai.losses import DiceLoss

        net = UNet(recipe.channels, N_CHANNELS, 1)
        # It begins as the first glance itself
        torch.nn.init.zeros_(net.head.weight)
        torch.nn.init.zeros_(net.head.bias)  # type: ignore[arg-type]
        super().__init__(net, recipe, steps)
        self.dice = DiceLoss(sigmoid=True, batch=True)

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Loss of one batch of slices."""
        channels, brain = batch
        logits = refined_logits(self.net, channels.contiguous(memory_format=torch.channels_last))
        entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, brain)
        return self.dice(logits, brain) + self.recipe.cross_entropy * entropy


def train_refinement(
    atlas: Atlas,
    output: Path,
    *,
    first: LoadedModel,
    donors: Sequence[Donor],
    init_weights: Path | None = None,
    recipe: Recipe = RECIPES['refine'],
    **asked: Any,
) -> dict[str, Any]:
    """Train a refinement on simulated heads, and on labelled scans.

    Parameters
    ----------
    atlas : Atlas
    output : path
        Weights, ``.safetensors``; the model card goes beside it, ``.json``.
    first : LoadedModel
        Network of the first glance that is refined.
    donors : sequence of Donor
        Prepared with `first`; an animal is never its own donor.
    init_weights : path, optional
        Refinement to go on from.
    recipe : Recipe
        One that trains a refinement.
    **asked
        Attributes of `secondglance.models.training.plan.Plan`; the heads are kept with the
        checkpoints.

    Returns
    -------
    dict
        The model card.

    Raises
    ------
    InputError
        For too few animals or steps, weights to start from that do not fit, or a checkpoint of
        another training.
    """
    plan = Plan(output, **{'steps': recipe.steps, 'n_animals': recipe.n_animals, **asked})
    seed, split = plan.seed, plan.split
    training = TrainingRun(
        RefinementTraining, plan, recipe, init_weights, REFINEMENT, first=first.checksum
    )
    training.metadata['first'] = first.checksum
    kept = plan.folder / f'heads-{first.checksum[:12]}-{seed}'
    parts, scans = _Pool(kept, first, donors, plan.device, recipe).gather(atlas, plan)

    def judge(net: UNet) -> dict[str, float]:
        found = brain_scores(net, parts['validation'], recipe.spacing)
        return {name: float(values.mean()) for name, values in found.items()}

    net = training.fit(
        RefinementBatches(parts['train'], scans, seed, recipe, training.start), judge
    )
    training.save(net)
    validation = {n: _animal(atlas, seed, n, recipe)[0] for n in split.validation}
    judged = list(_judged(validation, seed, first, output, donors, plan.device))
    training.metadata['calibration'] = json.dumps(calibrate(judged).to_plain())
    checksum = training.save(net)
    what = {
        'what': 'secondglance refinement: brain, from a first glance and its neighbours',
        'data': f'{plan.n_animals} animals simulated from the tissue maps of '
        f'{plan.source or "an atlas"}, {HEADS_EACH} heads each',
        'refines': first.checksum,
        **training.origin,
    }
    tested = {
        name: {'n_animals': len(split.test), 'n_heads': len(values), **spread(values)}
        for name, values in brain_scores(net, parts['test'], recipe.spacing, 'test: head').items()
    }
    return plan.write_card(recipe, net, checksum, what, {'test_dice': tested})


class _Pool:
    """Heads with their first glance, kept on disk: computing it takes longer than reading."""

    def __init__(
        self,
        folder: Path,
        first: LoadedModel,
        donors: Sequence[Donor],
        device: str,
        recipe: Recipe,
    ) -> None:
        self.folder, self.first, self.donors, self.device = folder, first, donors, device
        self.recipe = recipe
        folder.mkdir(parents=True, exist_ok=True)

    def gather(
        self, atlas: Atlas, plan: Plan
    ) -> tuple[dict[str, list[RefinementSample]], list[RefinementSample]]:
        """Heads of the simulated animals of each part of the split, and of the scans."""
        parts = {
            part: [
                head
                for n in paced(getattr(plan.split, part), f'first glance for {part}: animal')
                for head in self.animal(atlas, plan.seed, n)
            ]
            for part in ('train', 'validation', 'test')
        }
        known = list(enumerate(plan.scans))
        scans = [
            head
            for n, one in paced(known, 'first glance: scan', named=lambda pair: pair[1].name)
            for head in self.scan(one, plan.seed, n)
        ]
        return parts, scans

    def animal(self, atlas: Atlas, seed: int, number: int) -> list[RefinementSample]:
        """Heads of one simulated animal."""
        paths = [self.folder / f'animal-{number:03d}-{j}.npz' for j in range(HEADS_EACH)]
        if not all(path.exists() for path in paths):
            drawn, rng = _animal(atlas, seed, number, self.recipe)
            for path in paths:
                self._look(draw_head(drawn, rng), path)
        return [load_sample(path) for path in paths]

    def scan(self, one: LabelledScan, seed: int, number: int) -> list[RefinementSample]:
        """One labelled scan, as it is and through other scanners."""
        paths = [self.folder / f'scan-{number:03d}-{j}.npz' for j in range(SCANS_EACH)]
        if not all(path.exists() for path in paths):
            rng = np.random.default_rng([seed, 6, number])
            heads = [
                HeadStack(
                    one.images,
                    one.positions,
                    self.recipe.spacing,
                    (one.labels != 0).astype(np.uint8),
                )
            ]
            for _ in paths[1:]:
                heads.append(rescan(one, rng, self.recipe.spacing, self.recipe.side))
            for head, path in zip(heads, paths, strict=True):
                self._look(head, path, one.animal)
        return [load_sample(path) for path in paths]

    def _look(self, head: HeadStack, path: Path, animal: str = '') -> None:
        others = [donor for donor in self.donors if not animal or donor.animal != animal]
        save_sample(sample_of_head(self.first, head, others, self.device), path)


def _animal(
    atlas: Atlas, seed: int, number: int, recipe: Recipe
) -> tuple[Animal, np.random.Generator]:
    """One animal of the cohort; not one that the first glance was trained on with this seed."""
    rng = np.random.default_rng([seed, 8, number])
    return draw_animal(atlas, rng, recipe.spacing, recipe.side), rng


def _judged(
    animals: Mapping[int, Animal],
    seed: int,
    first: LoadedModel,
    refinement: Path,
    donors: Sequence[Donor],
    device: str,
) -> Iterator[Judged]:
    """Masks of simulated heads, intact and with every acquisition failure."""
    found = load_weights(refinement, form=REFINEMENT)
    bank = list(donors)
    for number, animal in paced(list(animals.items()), 'calibration: animal'):
        rng = np.random.default_rng([seed, 7, number])
        for _ in range(HEADS_EACH // 2):
            heads = [draw_head(animal, rng) for _ in range(2)]
            heads.append(
                simulate_failure(draw_head(animal, rng), FAILURES[int(rng.integers(5))], rng)
            )
            for head in heads:
                yield from judge_masks(first, found, head, bank, device)


def brain_scores(
    net: UNet, heads: Sequence[RefinementSample], spacing: float, what: str = ''
) -> dict[str, NDArray[np.float64]]:
    """Brain Dice of whole heads: by the first glance, and refined; `what` is said on the way."""
    found: dict[str, list[float]] = {'first': [], 'refined': []}
    for head in paced(heads, what) if what else heads:
        channels = refinement_channels(
            head.images, head.probability, head.enhanced, head.placed, head.positions
        )
        apart = slices_apart(head.positions)
        for name, probability in (
            ('first', head.probability.astype(np.float32)),
            ('refined', refine_channels(net, channels)),
        ):
            brain = one_brain(probability, spacing, apart, head.placed) >= 0.5
            found[name].append(dice(brain, head.brain))
    return {name: np.array(values) for name, values in found.items()}
