"""Training: recipes, a seeded cohort split by animal, Lightning, and the model card.

Every step draws its slices from a generator seeded by (seed, step) alone, so a run that was killed
continues from its last checkpoint with exactly the slices it would have seen.
"""

from __future__ import annotations

import copy
import datetime
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import secondglance
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.models.evaluation import evaluation_slices, score, summarise
from secondglance.models.inference import NORMALISATION
from secondglance.models.synthesis import (
    Animal,
    Atlas,
    draw_animal,
    draw_batch,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import PAPER_SPACING, save_weights


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    name : str
    batch_size : int
        Slices a step.
    learning_rate : float
    cross_entropy : float
        Weight of cross-entropy beside soft Dice; 0 leaves soft Dice alone.
    optimiser : str
        ``sgd`` (momentum 0.9, time-based decay) or ``adamw`` (cosine decay to zero).
    decay : float
        Time-based decay a step: the rate at step t is ``learning_rate / (1 + decay t)``.
    average : float
        Decay a step of the running average of the weights; 0 keeps the last weights.
    """

    name: str
    batch_size: int
    learning_rate: float
    cross_entropy: float
    optimiser: str
    decay: float = 0.0
    average: float = 0.0


RECIPES: dict[str, Recipe] = {
    # Matos et al. 2019, section 3.2.
    'paper': Recipe('paper', 5, 3e-4, 0.0, 'sgd', decay=1.5e-6),
    'default': Recipe('default', 16, 1.5e-3, 1.0, 'adamw', average=0.998),
}
"""Recipes by name; ``default`` made the weights that ship."""


@dataclass(frozen=True)
class Split:
    """Numbers of the animals in each part of a cohort; no animal is in two parts."""

    train: tuple[int, ...]
    validation: tuple[int, ...]
    test: tuple[int, ...]


def split_animals(n_animals: int, rng: np.random.Generator, test_fraction: float = 0.2) -> Split:
    """Split animals at random: a fifth to test, a fifth of the rest to validate.

    Parameters
    ----------
    n_animals : int
        At least 3.
    rng : numpy.random.Generator
    test_fraction : float

    Returns
    -------
    Split

    Raises
    ------
    InputError
        If there are too few animals for three parts.

    References
    ----------
    Matos et al. 2019, section 3.2: 80 % to train (80/20 train/validation), 20 % to test.

    Examples
    --------
    >>> split = split_animals(36, np.random.default_rng(0))
    >>> len(split.train), len(split.validation), len(split.test)
    (23, 6, 7)
    """
    if n_animals < 3:
        raise InputError(f'{n_animals} animals cannot be split in three parts; use at least 3.')
    order = [int(i) for i in rng.permutation(n_animals)]
    n_test = max(1, round(test_fraction * n_animals))
    n_validation = max(1, round(test_fraction * (n_animals - n_test)))
    test, validation = order[:n_test], order[n_test : n_test + n_validation]
    train = order[n_test + n_validation :]
    return Split(tuple(sorted(train)), tuple(sorted(validation)), tuple(sorted(test)))


def animal_rng(seed: int, number: int) -> np.random.Generator:
    """Generator of one animal of the cohort; independent of how many animals there are."""
    return np.random.default_rng([seed, 1, number])


class _Batches(IterableDataset):
    """Batches for the steps from `start` on; step t depends on (seed, t) alone."""

    def __init__(self, animals: list[Animal], seed: int, batch_size: int, start: int) -> None:
        self.animals, self.seed, self.batch_size, self.start = animals, seed, batch_size, start

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        step = self.start
        while True:
            rng = np.random.default_rng([self.seed, 2, step])
            yield draw_batch(self.animals, rng, self.batch_size)
            step += 1


class SegmentationTraining(lightning.LightningModule):
    """The network, its running average, its loss and its optimiser.

    Parameters
    ----------
    recipe : Recipe
    steps : int
        Length of the whole training; the cosine of the learning rate ends there.
    channels : tuple of int
        Of the `UNet`.
    """

    def __init__(
        self, recipe: Recipe, steps: int, channels: tuple[int, ...] = (16, 32, 64, 128)
    ) -> None:
        super().__init__()
        from monai.losses import DiceLoss

        self.recipe, self.steps = recipe, steps
        # Channels-last convolutions are a third faster on CPU and give the same numbers.
        self.net = UNet(channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
        # Dice of the batch as one: a class missing from one slice must not dominate.
        self.dice = DiceLoss(softmax=True, to_onehot_y=True, batch=recipe.cross_entropy > 0)

    def training_step(
        self, batch: tuple[torch.Tensor, torch.Tensor], batch_idx: int
    ) -> torch.Tensor:
        """Loss of one batch of slices."""
        images, labels = batch
        logits = self.net(images.contiguous(memory_format=torch.channels_last))
        loss = self.dice(logits, labels)
        if self.recipe.cross_entropy:
            entropy = torch.nn.functional.cross_entropy(logits, labels[:, 0])
            loss = loss + self.recipe.cross_entropy * entropy
        return loss

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step, then move the running average towards the new weights."""
        step = self.global_step + 1
        super().optimizer_step(*args, **kwargs)
        # Here and not at the end of the batch: checkpoints are written before the module hears
        # of that, and a resumed average would lack one step.
        # A short memory at first, so that the average does not remember the random start.
        keep = min(self.recipe.average, step / (step + 10.0))
        if not self.recipe.average:
            keep = 0.0
        with torch.no_grad():
            pairs = zip(
                self.average.state_dict().values(), self.net.state_dict().values(), strict=True
            )
            for slow, fast in pairs:
                if slow.is_floating_point():
                    slow.lerp_(fast, 1.0 - keep)
                else:
                    slow.copy_(fast)

    def configure_optimizers(self) -> Any:
        """Optimiser and schedule of the recipe."""
        recipe = self.recipe
        optimiser: torch.optim.Optimizer
        if recipe.optimiser == 'sgd':
            optimiser = torch.optim.SGD(
                self.net.parameters(), lr=recipe.learning_rate, momentum=0.9
            )
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimiser, lambda step: 1.0 / (1.0 + recipe.decay * step)
            )
        else:
            optimiser = torch.optim.AdamW(
                self.net.parameters(), lr=recipe.learning_rate, weight_decay=1e-2
            )
            warm_up = min(100, max(1, self.steps // 10))
            schedule = torch.optim.lr_scheduler.LambdaLR(
                optimiser,
                # A plain float: checkpoints that hold NumPy's cannot be loaded safely.
                lambda step: float(
                    min(1.0, (step + 1) / warm_up)
                    * 0.5
                    * (1.0 + np.cos(np.pi * min(1.0, step / self.steps)))
                ),
            )
        return {
            'optimizer': optimiser,
            'lr_scheduler': {'scheduler': schedule, 'interval': 'step'},
        }


class _Progress(lightning.Callback):
    """One line now and then: step, loss, steps a second, Dice of the validation animals.

    Also writes the averaged weights, so that a long run can be used before its end.
    """

    def __init__(self, validation, output: Path, metadata: dict[str, str], every: int) -> None:
        self.validation, self.output, self.metadata = validation, output, metadata
        self.every = every
        self.losses: list[float] = []
        self.since = time.monotonic()

    def on_train_batch_end(self, trainer, module, outputs, *args) -> None:
        self.losses.append(float(outputs['loss'].detach()))
        step = trainer.global_step
        if step % 100 and step != trainer.max_steps:
            return
        rate = len(self.losses) / (time.monotonic() - self.since)
        line = f'step {step}/{trainer.max_steps}  loss {np.mean(self.losses):.4f}  {rate:.1f}/s'
        if step % self.every == 0 or step == trainer.max_steps:
            scores = np.mean([score(module.average, *s) for s in self.validation], axis=0)
            names = (*TISSUES, 'brain')
            line += '  validation Dice ' + '  '.join(
                f'{n} {s:.3f}' for n, s in zip(names, scores, strict=True)
            )
            save_weights(module.average, self.output, {**self.metadata, 'step': str(step)})
        print(line, flush=True)
        self.losses, self.since = [], time.monotonic()


def train(
    atlas: Atlas,
    output: Path,
    *,
    recipe: str = 'default',
    steps: int = 8000,
    seed: int = 0,
    n_animals: int = 36,
    checkpoint_dir: Path | None = None,
    resume: bool = True,
    checkpoint_every: int = 200,
    channels: tuple[int, ...] = (16, 32, 64, 128),
    device: str = 'cpu',
    source: str = '',
    command: str = '',
) -> dict[str, Any]:
    """Train a network on background-free slices of animals simulated from an atlas.

    Parameters
    ----------
    atlas : Atlas
    output : path
        Weights, ``.safetensors``; the model card goes beside it, ``.json``.
    recipe : str
        One of `RECIPES`.
    steps : int
        Batches.
    seed : int
        Of cohort, split, first weights and slices.
    n_animals : int
        Simulated animals in all.
    checkpoint_dir : path, optional
        Where the state to resume from is kept; by default beside `output`.
    resume : bool
        Go on from the last checkpoint where there is one.
    checkpoint_every : int
        Steps between checkpoints, validation and preliminary weights.
    channels : tuple of int
        Of the `UNet`.
    device : str
        ``cpu`` or ``cuda``.
    source, command : str
        What the data derive from, and the call; both for the model card.

    Returns
    -------
    dict
        The model card.

    Raises
    ------
    InputError
        For an unknown recipe, too few animals or steps, or a checkpoint of another training.
    """
    if recipe not in RECIPES:
        raise InputError(f'Recipe {recipe!r} is not known; choose one of {sorted(RECIPES)}.')
    if steps < 1:
        raise InputError(f'{steps} steps are too few; train for at least one.')
    chosen = RECIPES[recipe]
    checkpoint_dir = checkpoint_dir or output.with_suffix('.checkpoints')
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    split = split_animals(n_animals, np.random.default_rng([seed, 0]))
    identity = {'recipe': recipe, 'seed': seed, 'steps': steps, 'n_animals': n_animals}
    start, checkpoint = (
        _checkpoint(checkpoint_dir / 'last.ckpt', identity) if resume else (0, None)
    )

    def animals(numbers: tuple[int, ...]) -> list[Animal]:
        return [draw_animal(atlas, animal_rng(seed, n), PAPER_SPACING) for n in numbers]

    torch.manual_seed(seed)
    module = SegmentationTraining(chosen, steps, channels)
    metadata = {
        'spacing': str(PAPER_SPACING),
        'recipe': recipe,
        'seed': str(seed),
        'steps': str(steps),
        'version': secondglance.__version__,
        'derived_from': source,
    }
    validation = [
        evaluation_slices(animal, np.random.default_rng([seed, 3, n]))
        for n, animal in zip(split.validation, animals(split.validation), strict=True)
    ]
    trainer = lightning.Trainer(
        accelerator='gpu' if device.startswith('cuda') else 'cpu',
        devices=[int(device[5:])] if device.startswith('cuda:') else 1,
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=checkpoint_dir,
        callbacks=[
            _Progress(validation, output, metadata, checkpoint_every),
            lightning.pytorch.callbacks.ModelCheckpoint(
                checkpoint_dir,
                filename='last',
                every_n_train_steps=checkpoint_every,
                save_top_k=1,
                enable_version_counter=False,
            ),
            _Identity(identity),
        ],
    )
    batches = _Batches(animals(split.train), seed, chosen.batch_size, start)
    # Checkpoints hold tensors and plain values only, so no pickled code is ever run.
    trainer.fit(
        module, DataLoader(batches, batch_size=None), ckpt_path=checkpoint, weights_only=True
    )
    net = module.average.to('cpu')
    tested = list(zip(split.test, animals(split.test), strict=True))
    scores = {}
    for mask in ('true', 'imperfect'):
        slices = (
            evaluation_slices(
                animal, np.random.default_rng([seed, 4, n]), perfect_mask=mask == 'true'
            )
            for n, animal in tested
        )
        scores[mask] = np.array([score(net, *pair) for pair in slices])
    checksum = save_weights(net, output, metadata)
    card = {
        'what': 'secondglance U-Net: background, WM, GM, CSF of background-free coronal slices',
        'data': f'{n_animals} animals simulated from the tissue maps of {source or "an atlas"}',
        'animals': asdict(split),
        'in_plane_spacing_mm': PAPER_SPACING,
        'normalisation': NORMALISATION,
        'recipe': asdict(chosen),
        'architecture': net.architecture,
        'parameters': sum(p.numel() for p in net.parameters()),
        'seed': seed,
        'steps': steps,
        'test_dice': {f'{mask} mask': summarise(values) for mask, values in scores.items()},
        'command': command,
        'checksum': checksum,
        'versions': {
            'secondglance': secondglance.__version__,
            'torch': torch.__version__,
            'numpy': np.__version__,
        },
        'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
        'limits': (
            'Trained on simulated slices with random contrast only; the figures are of simulated '
            'animals of the same atlas and say little about another scanner or strain.'
        ),
    }
    partial = output.with_suffix('.json.partial')
    partial.write_text(json.dumps(card, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')
    os.replace(partial, output.with_suffix('.json'))
    return card


class _Identity(lightning.Callback):
    """Writes into each checkpoint which training it belongs to."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self.identity = identity

    def on_save_checkpoint(self, trainer, module, checkpoint) -> None:
        checkpoint['secondglance'] = self.identity


def _checkpoint(path: Path, identity: dict[str, Any]) -> tuple[int, Path | None]:
    """Step at which a checkpoint was taken and its path, or (0, None) where there is none."""
    if not path.exists():
        return 0, None
    try:
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # of a broken file torch raises whatever its bytes lead to
        raise InputError(
            f'Checkpoint {path} cannot be read; start afresh with --no-resume.'
        ) from error
    if state.get('secondglance') != identity:
        raise InputError(
            f'Checkpoint {path} is of another training ({state.get("secondglance")}); '
            'name another output, or start afresh with --no-resume.'
        )
    return int(state['global_step']), path
