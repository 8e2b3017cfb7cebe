"""Training of the network of the two glances: animals split, slices drawn, and the model card."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.models.pace import paced
from secondglance.models.training.evaluation import (
    BACKGROUNDS,
    evaluation_slices,
    score,
    summarise,
)
from secondglance.models.training.loop import AveragedTraining, SeededBatches, TrainingRun
from secondglance.models.training.plan import Plan
from secondglance.models.training.recipes import RECIPES, Recipe
from secondglance.models.training.scans import UNKNOWN, LabelledScan, draw_scans
from secondglance.models.training.split import animal_rng
from secondglance.models.unet import UNet
from secondglance.simulation.animal import Animal, draw_animal
from secondglance.simulation.atlas import Atlas
from secondglance.simulation.brains import draw_batch
from secondglance.simulation.head_slices import draw_heads


class SegmentationBatches(SeededBatches):
    """Slices of simulated animals, and of labelled scans where there are any."""

    def __init__(
        self,
        animals: list[Animal],
        scans: list[LabelledScan],
        seed: int,
        recipe: Recipe,
        start: int,
    ) -> None:
        super().__init__(seed, start)
        self.animals, self.scans, self.recipe = animals, scans, recipe

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw images and labels of one step."""
        recipe = self.recipe
        n_scans = round(recipe.batch_size * recipe.scan_share) if self.scans else 0
        if recipe.heads:
            drawn = draw_heads(self.animals, rng, recipe.batch_size - n_scans, recipe.spacing)
        else:
            drawn = draw_batch(self.animals, rng, recipe.batch_size - n_scans)
        if not n_scans:
            return drawn
        free = 0.35 if recipe.heads else 1.0
        real = draw_scans(
            self.scans, rng, n_scans, recipe.spacing, recipe.side, background_free=free
        )
        return torch.cat([drawn[0], real[0]]), torch.cat([drawn[1], real[1]])


class SegmentationTraining(AveragedTraining):
    """The network of the two glances and its loss.

    Parameters
    ----------
    recipe : Recipe
    steps : int
        Length of the whole training; the cosine of the learning rate ends there.
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        from monai.losses import DiceLoss

        super().__init__(UNet(recipe.channels), recipe, steps)
        # Dice of the batch as one: a class missing from one slice must not dominate.
        self.dice = DiceLoss(softmax=True, to_onehot_y=True, batch=recipe.cross_entropy > 0)

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Loss of one batch of slices."""
        images, labels = batch
        logits = self.net(images.contiguous(memory_format=torch.channels_last)).float()
        masked = (labels == UNKNOWN).flatten(1).any(dim=1)
        loss = logits.new_zeros(())
        if not masked.all():
            loss = loss + (~masked).float().mean() * self._loss(logits[~masked], labels[~masked])
        if masked.any():
            # Of these slices it is known where the brain is, but not which tissue is where
            brain = logits[masked, 1:].logsumexp(dim=1, keepdim=True)
            two = torch.cat([logits[masked, :1], brain], dim=1)
            loss = loss + masked.float().mean() * self._loss(two, (labels[masked] != 0).long())
        return loss

    def _loss(self, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        loss = self.dice(logits, labels)
        if self.recipe.cross_entropy:
            entropy = torch.nn.functional.cross_entropy(logits, labels[:, 0])
            loss = loss + self.recipe.cross_entropy * entropy
        return loss


def train_segmentation(
    atlas: Atlas,
    output: Path,
    *,
    recipe: str = 'robust',
    init_weights: Path | None = None,
    **asked: Any,
) -> dict[str, Any]:
    """Train a network on slices of animals simulated from an atlas, and on labelled scans.

    Parameters
    ----------
    atlas : Atlas
    output : path
        Weights, ``.safetensors``; the model card goes beside it, ``.json``.
    recipe : str
        One of `RECIPES` that trains a segmentation.
    init_weights : path, optional
        Weights to go on from, of the recipe's architecture and spacing.
    **asked
        Attributes of `secondglance.models.training.plan.Plan`.

    Returns
    -------
    dict
        The model card.

    Raises
    ------
    InputError
        For an unknown recipe, too few animals or steps, weights to start from that do not fit, or
        a checkpoint of another training.
    """
    known = [name for name, one in RECIPES.items() if one.trains == 'segmentation']
    if recipe not in known:
        raise InputError(f'Recipe {recipe!r} is not known; choose one of {sorted(known)}.')
    chosen = RECIPES[recipe]
    plan = Plan(output, **{'steps': chosen.steps, 'n_animals': chosen.n_animals, **asked})
    seed, split = plan.seed, plan.split
    training = TrainingRun(SegmentationTraining, plan, chosen, init_weights)

    def animals(part: str) -> list[Animal]:
        return [
            draw_animal(atlas, animal_rng(seed, n), chosen.spacing, chosen.side)
            for n in paced(getattr(split, part), f'simulating for {part}: animal')
        ]

    shown = 'whole head' if chosen.heads else 'true mask'
    validation = [
        evaluation_slices(animal, np.random.default_rng([seed, 3, n]), background=shown)
        for n, animal in zip(split.validation, animals('validation'), strict=True)
    ]

    def judge(net: UNet) -> dict[str, float]:
        scores = np.mean([score(net, *pair) for pair in validation], axis=0)
        return dict(zip((*TISSUES, 'brain'), map(float, scores), strict=True))

    batches = SegmentationBatches(animals('train'), list(plan.scans), seed, chosen, training.start)
    net = training.fit(batches, judge if validation else None)
    tested = list(zip(split.test, animals('test'), strict=True))
    scores: dict[str, list] = {background: [] for background in BACKGROUNDS}
    rounds = [(shown, n, animal) for shown in BACKGROUNDS for n, animal in tested]
    for background, n, animal in paced(rounds, 'test', named=lambda one: one[0]):
        rng = np.random.default_rng([seed, 4, n])
        scores[background].append(
            score(net, *evaluation_slices(animal, rng, background=background))
        )
    checksum = training.save(net)
    what = {
        'what': 'secondglance U-Net: background, WM, GM, CSF of coronal slices, '
        + ('of whole heads and background-free' if chosen.heads else 'background-free'),
        'data': f'{plan.n_animals} animals simulated from the tissue maps of '
        f'{plan.source or "an atlas"}',
        **training.origin,
    }
    tested_as = {name: summarise(np.array(values)) for name, values in scores.items()}
    return plan.write_card(chosen, net, checksum, what, {'test_dice': tested_as})
