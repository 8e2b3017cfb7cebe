"""Training of the second glance: stacks are composed once, then used in batches."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from secondglance.imaging.labels import TISSUES
from secondglance.models.pace import paced
from secondglance.models.second_glance.channels import MASK
from secondglance.models.second_glance.network import N_CHANNELS, OUTPUTS, split_outputs
from secondglance.models.training.evaluation import dice_per_class, spread
from secondglance.models.training.loop import AveragedTraining, SeededBatches, TrainingRun
from secondglance.models.training.placed_scans import PlacedScan
from secondglance.models.training.plan import Plan, named_on_card
from secondglance.models.training.recipes import RECIPES, Recipe
from secondglance.models.training.second_glance_samples import (
    draw_second_glance_samples,
    lay_out,
    load_samples,
    redraw_placed,
    save_samples,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import SECOND_GLANCE
from secondglance.simulation.animal import Animal, draw_animal
from secondglance.simulation.atlas import Atlas
from secondglance.simulation.placed_stack import PlacedStack, draw_placed

HEADS_EACH = 8
"""Stacks that are drawn of every simulated animal."""

SCANS_EACH = 12
"""Samples of each labelled scan: half as it is, half in other poses and contrasts."""

SIZES = (0.78, 1.08)
"""Sizes of simulated animals beside the atlas."""

DRAWN_MM, DRAWN_SIDE = 0.25, 96
"""Pixels of simulated stacks: their size in mm of a rat, and how many a side."""

_PLACE_WEIGHT = 0.5
"""Weight of the coordinates' loss, in mm, beside that of the tissues."""


_AROUND = 3
"""Pixels around the mask in which the share of brain is learnt."""


class SecondGlanceBatches(SeededBatches):
    """Slices of laid-out stacks: each pool with its share of a batch, and its stacks."""

    def __init__(
        self,
        pools: Sequence[tuple[float, Sequence[torch.Tensor]]],
        seed: int,
        recipe: Recipe,
        start: int,
    ) -> None:
        super().__init__(seed, start)
        self.pools, self.recipe = pools, recipe

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw input channels and targets of one step."""
        torch.set_num_threads(1)
        return draw_second_glance_samples(self.pools, rng, self.recipe.batch_size)


class SecondGlanceTraining(AveragedTraining):
    """The network of the second glance and its loss.

    Cross-entropy against fractions: it is least where the network says what they are on average.
    Soft Dice is not, but where what is small, white matter and CSF, is told too large. Coordinates
    have a robust loss, the share of brain cross-entropy.

    Parameters
    ----------
    recipe : Recipe
    steps : int
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        super().__init__(UNet(recipe.channels, N_CHANNELS, len(OUTPUTS)), recipe, steps)

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Loss of one batch of slices."""
        channels, targets = batch
        outputs = self.net(channels.contiguous(memory_format=torch.channels_last)).float()
        return second_glance_loss(outputs, channels, targets)


def second_glance_loss(
    outputs: torch.Tensor, channels: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Measure how far the outputs of the network are from their targets.

    Parameters
    ----------
    outputs : (B, 7, H, W) tensor
        Of the network, as `OUTPUTS` names them.
    channels : (B, 13, H, W) tensor
        What it was given: coordinates are beside its own.
    targets : (B, 9, H, W) tensor
        Fractions (3), their weight, zero where they are not known, coordinates (3, mm) and where
        they are known, share of brain, negative where it is not known.

    Returns
    -------
    scalar tensor
        Cross-entropy of the fractions, the weighted distance of coordinates, and
        the cross-entropy of the share of brain, in the mask that was given and around it.
    """
    logits, places, share = split_outputs(outputs, channels)
    fractions, known = targets[:, :3], targets[:, 3:4]
    logs = logits.log_softmax(dim=1)
    entropy = -(fractions * logs * known).sum() / known.sum().clamp(min=1)
    true, placed = targets[:, 4:7], targets[:, 7:8]
    away = functional.smooth_l1_loss(places, true, beta=0.5, reduction='none') * placed
    place = _PLACE_WEIGHT * away.sum() / (3 * placed.sum().clamp(min=1))
    wide = 2 * _AROUND + 1
    around = functional.max_pool2d(channels[:, MASK : MASK + 1], wide, 1, _AROUND) > 0.5
    said = (around & (targets[:, 8:] >= 0)).float()
    filled = functional.binary_cross_entropy_with_logits(
        share, targets[:, 8:].clamp(0, 1), weight=said, reduction='sum'
    )
    return entropy + place + filled / said.sum().clamp(min=1)


@dataclass(frozen=True)
class Source:
    """An atlas that animals are simulated from.

    Attributes
    ----------
    name : str
    atlas : Atlas
        At the size and in the coordinates of the rat atlas.
    species : str
    share : float
        Of each batch.
    """

    name: str
    atlas: Atlas
    species: str = 'rat'
    share: float = 1.0


@dataclass
class SamplePool:
    """Laid-out stacks on disk, made where they are missing: drawing takes longer than reading.

    Attributes
    ----------
    folder : path
    seed : int
    """

    folder: Path
    seed: int
    _atlases: dict[str, Any] = field(default_factory=dict, repr=False)

    def animal(self, source: Source, number: int, heads: int = HEADS_EACH) -> list[torch.Tensor]:
        """Stacks of one simulated animal."""
        paths = [self._path(source.name, f'{number:03d}-{j}') for j in range(heads)]
        if not all(path.exists() for path in paths):
            drawn, rng = simulated_animal(source.atlas, self.seed, number)
            for path in paths:
                stack = draw_placed(drawn, rng, species=source.species)
                while not stack.mask.any():
                    stack = draw_placed(drawn, rng, species=source.species)
                self._keep(lay_out(stack, rng), path)
        return self._read(paths)

    def animals(
        self, sources: Sequence[Source], numbers: Sequence[int], part: str, heads: int = HEADS_EACH
    ) -> list[torch.Tensor]:
        """Stacks of the simulated animals of a part of the split, saying how far it is."""
        all_of = [(source, number) for source in sources for number in numbers]
        return [
            laid
            for source, number in paced(
                all_of, f'simulating for {part}: animal', named=lambda one: one[0].name
            )
            for laid in self.animal(source, number, heads)
        ]

    def scan(self, one: PlacedStack, name: str, variants: int = SCANS_EACH) -> list[torch.Tensor]:
        """One labelled scan, half of the times as it is, else in another pose and contrast.

        A network that meets a scan mostly in other contrasts learns little of the one that it has.
        """
        paths = [self._path('scans', f'{name}-{j}') for j in range(variants)]
        for j, path in enumerate(paths):
            if path.exists():
                continue
            rng = np.random.default_rng([self.seed, 6, j, *name.encode()])
            self._keep(lay_out(redraw_placed(one, rng, as_it_is=2 * j < variants), rng), path)
        return self._read(paths)

    def _path(self, kind: str, name: str) -> Path:
        path = self.folder / kind / f'{name}.safetensors'
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    @staticmethod
    def _keep(laid: torch.Tensor, path: Path) -> None:
        save_samples(laid, path)

    @staticmethod
    def _read(paths: Sequence[Path]) -> list[torch.Tensor]:
        return [laid for path in paths if len(laid := load_samples(path))]


def simulated_animal(atlas: Atlas, seed: int, number: int) -> tuple[Animal, np.random.Generator]:
    """Draw one animal of the cohort.

    Parameters
    ----------
    atlas : Atlas
    seed, number : int
        Of the cohort, and of the animal in it.

    Returns
    -------
    Animal, numpy.random.Generator
        With the coordinates of each voxel in the atlas; what is drawn of the animal comes from the
        generator.
    """
    rng = np.random.default_rng([seed, 9, number])
    drawn = draw_animal(atlas, rng, DRAWN_MM, DRAWN_SIDE, SIZES, coordinates=True)
    return drawn, rng


def train_second_glance(
    sources: Sequence[Source],
    output: Path,
    *,
    scans: Sequence[PlacedScan] = (),
    init_weights: Path | None = None,
    pool_folder: Path | None = None,
    recipe: Recipe = RECIPES['second-glance'],
    **asked: Any,
) -> dict[str, Any]:
    """Train a second glance on simulated animals, and on scans with tissue labels.

    Parameters
    ----------
    sources : sequence of Source
        Atlases to simulate from.
    output : path
        Weights, ``.safetensors``; the model card goes beside it, ``.json``.
    scans : sequence of PlacedScan
    init_weights : path, optional
        Second glance to go on from.
    pool_folder : path, optional
        Where laid-out stacks are kept; by default with the checkpoints.
    recipe : Recipe
        One that trains a second glance.
    **asked
        Attributes of `secondglance.models.training.plan.Plan`.

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
    split = plan.split
    names = ' '.join(sorted(one.name for one in scans))
    training = TrainingRun(
        SecondGlanceTraining, plan, recipe, init_weights, SECOND_GLANCE, names=names
    )
    training.metadata['classes'] = json.dumps(list(OUTPUTS))
    pool = SamplePool(pool_folder or plan.folder / f'slices-{plan.seed}', plan.seed)
    pools = _pools(pool, sources, split.train, scans, recipe.scan_share if scans else 0.0)
    held = pool.animals(sources, split.validation, 'validation', 2)

    def judge(net: UNet) -> dict[str, float]:
        return {name: float(values.mean()) for name, values in judge_stacks(net, held).items()}

    net = training.fit(SecondGlanceBatches(pools, plan.seed, recipe, training.start), judge)
    checksum = training.save(net)
    what = {
        'what': 'secondglance second glance: fractions of WM, GM and CSF and atlas coordinates '
        'inside a brain mask',
        'data': f'{plan.n_animals} animals each simulated from {plan.source or "an atlas"}, '
        f'{HEADS_EACH} heads each',
        **training.origin,
    }
    tested = pool.animals(sources, split.test, 'test', 2)
    scores = {
        name: spread(values)
        for name, values in judge_stacks(net, paced(tested, 'test: stack')).items()
    }
    return plan.write_card(
        recipe, net, checksum, what, {'scans': named_on_card(scans), 'test': scores}
    )


def _pools(
    pool: SamplePool,
    sources: Sequence[Source],
    animals: Sequence[int],
    scans: Sequence[PlacedScan],
    scan_share: float,
) -> list[tuple[float, list[torch.Tensor]]]:
    """Share of each batch, and the stacks it is drawn from: of each source, then each species."""
    whole = sum(source.share for source in sources)
    pools = [
        (
            (1 - scan_share) * source.share / whole,
            pool.animals([source], animals, 'train'),
        )
        for source in sources
    ]
    # Every species counts alike, however many were scanned
    by_species = sorted({one.stack.species for one in scans})
    for species in by_species:
        of_species = [one for one in scans if one.stack.species == species]
        laid = [
            stack
            for one in paced(
                of_species, f'laying out a {species}: scan', named=lambda one: one.name
            )
            for stack in pool.scan(one.stack, one.name)
        ]
        pools.append((scan_share / len(by_species), laid))
    return pools


def judge_stacks(
    net: Callable[[torch.Tensor], torch.Tensor], stacks: Iterable[torch.Tensor]
) -> dict[str, NDArray[np.float64]]:
    """Score tissues and coordinates of whole stacks.

    Parameters
    ----------
    net : callable
        From channels (N, 13, H, W) to outputs (N, 7, H, W).
    stacks : iterable of (N, 22, H, W) tensors
        As `lay_out` gives them: channels, then targets.

    Returns
    -------
    dict of (K,) arrays
        ``place``: exp(−median distance of the coordinates in mm), 1 is exact; Dice of each tissue;
        ``mean``: of the tissues. One value a stack.
    """
    rows = []
    for laid in stacks:
        channels, targets = laid[:, :N_CHANNELS].float(), laid[:, N_CHANNELS:].float()
        with torch.no_grad():
            logits, places, _ = split_outputs(net(channels), channels)
        known, placed = targets[:, 3] > 0.5, targets[:, 7] > 0.5
        found = torch.where(known, logits.argmax(dim=1) + 1, 0)
        true = torch.where(known, targets[:, :3].argmax(dim=1) + 1, 0)
        away = (places - targets[:, 4:7]).norm(dim=1)[placed]
        close = float(torch.exp(-away.median())) if len(away) else 1.0
        rows.append([close, *dice_per_class(found, true)[:3]])
    columns = np.array(rows).T
    names = ('place', *TISSUES)
    return {**dict(zip(names, columns, strict=True)), 'mean': columns[1:].mean(axis=0)}
