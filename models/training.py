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
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

import secondglance
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import TISSUES
from secondglance.models.evaluation import BACKGROUNDS, evaluation_slices, score, summarise
from secondglance.models.heads import draw_heads
from secondglance.models.inference import NORMALISATION
from secondglance.models.scans import UNKNOWN, LabelledScan, draw_scans
from secondglance.models.synthesis import (
    Animal,
    Atlas,
    draw_animal,
    draw_batch,
)
from secondglance.models.unet import UNet
from secondglance.models.weights import (
    PAPER_SPACING,
    LoadedModel,
    load_weights,
    save_weights,
)


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
    heads : bool
        Whether most slices show whole heads (`secondglance.models.heads`); otherwise all are
        background-free.
    spacing : float
        In-plane spacing of the slices, in mm.
    side : int
        Pixels of the square slices.
    channels : tuple of int
        Of the `UNet`.
    precision : str
        Of the arithmetic, as Lightning names it.
    scan_share : float
        Share of each batch that is drawn from labelled scans, where there are any.
    steps, n_animals : int
        Batches, and simulated animals, where the call names none.
    """

    name: str
    batch_size: int
    learning_rate: float
    cross_entropy: float
    optimiser: str
    decay: float = 0.0
    average: float = 0.0
    heads: bool = False
    spacing: float = PAPER_SPACING
    side: int = 64
    channels: tuple[int, ...] = (16, 32, 64, 128)
    precision: str = '32-true'
    scan_share: float = 0.4
    steps: int = 20000
    n_animals: int = 36


RECIPES: dict[str, Recipe] = {
    # Matos et al. 2019, section 3.2.
    'paper': Recipe('paper', 5, 3e-4, 0.0, 'sgd', decay=1.5e-6),
    'robust': Recipe(
        'robust',
        16,
        1.5e-3,
        1.0,
        'adamw',
        average=0.998,
        heads=True,
        spacing=0.3,
        side=80,
        channels=(16, 32, 64, 128, 192),
        precision='bf16-mixed',
        steps=10000,
    ),
}
RECIPES['fine-tune'] = replace(
    RECIPES['robust'],
    name='fine-tune',
    learning_rate=5e-4,
    average=0.99,
    steps=500,
    n_animals=12,
)
"""Recipes by name."""


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

    def __init__(
        self,
        animals: list[Animal],
        scans: list[LabelledScan],
        seed: int,
        recipe: Recipe,
        start: int,
    ) -> None:
        self.animals, self.scans, self.seed = animals, scans, seed
        self.recipe, self.start = recipe, start

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        step = self.start
        # Each of several GPUs sees slices of its own; Lightning numbers its processes.
        rank = [r] if (r := int(os.environ.get('LOCAL_RANK', 0))) else []
        while True:
            rng = np.random.default_rng([self.seed, 2, step, *rank])
            recipe = self.recipe
            n_scans = round(recipe.batch_size * recipe.scan_share) if self.scans else 0
            if recipe.heads:
                drawn = draw_heads(self.animals, rng, recipe.batch_size - n_scans, recipe.spacing)
            else:
                drawn = draw_batch(self.animals, rng, recipe.batch_size - n_scans)
            if n_scans:
                free = 0.35 if recipe.heads else 1.0
                real = draw_scans(
                    self.scans, rng, n_scans, recipe.spacing, recipe.side, background_free=free
                )
                drawn = torch.cat([drawn[0], real[0]]), torch.cat([drawn[1], real[1]])
            yield drawn
            step += 1


class SegmentationTraining(lightning.LightningModule):
    """The network, its running average, its loss and its optimiser.

    Parameters
    ----------
    recipe : Recipe
    steps : int
        Length of the whole training; the cosine of the learning rate ends there.
    """

    def __init__(self, recipe: Recipe, steps: int) -> None:
        super().__init__()
        from monai.losses import DiceLoss

        self.recipe, self.steps = recipe, steps
        # Channels-last convolutions are a third faster on CPU and give the same numbers.
        self.net = UNet(recipe.channels).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)
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
    """Says how far it is: a line now and then, a table, and the averaged weights so far.

    Every 100 steps the mean loss; at every checkpoint the Dice of the validation animals, too.
    Stops early where the brain's Dice has not risen for `patience` checkpoints.
    """

    def __init__(
        self, validation, output: Path, metadata: dict[str, str], every: int, patience: int
    ) -> None:
        self.validation, self.output, self.metadata = validation, output, metadata
        self.every, self.patience = every, patience
        self.losses: list[float] = []
        self.since = time.monotonic()
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        return {'rows': self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict['rows'])

    def on_train_batch_end(self, trainer, module, outputs, *args) -> None:
        self.losses.append(float(outputs['loss'].detach()))
        step = trainer.global_step
        judged = step % self.every == 0 or step == trainer.max_steps
        if step % 100 and not judged:
            return
        rate = len(self.losses) / (time.monotonic() - self.since)
        row = {'step': float(step), 'loss': float(np.mean(self.losses))}
        line = f'step {step}/{trainer.max_steps}  loss {row["loss"]:.4f}  {rate:.1f}/s'
        if judged and self.validation:
            scores = np.mean([score(module.average, *s) for s in self.validation], axis=0)
            row |= dict(zip((*TISSUES, 'brain'), map(float, scores), strict=True))
            line += '  validation Dice ' + '  '.join(
                f'{name} {row[name]:.3f}' for name in (*TISSUES, 'brain')
            )
        self.rows.append(row)
        write_curves(self.rows, self.output)
        if judged:
            save_weights(module.average, self.output, {**self.metadata, 'step': str(step)})
        print(line, flush=True)
        if self.patience and judged:
            brains = [r['brain'] for r in self.rows if 'brain' in r]
            if len(brains) - 1 - int(np.argmax(brains)) >= self.patience:
                print(f'The brain has not gained for {self.patience} checkpoints: stopped.')
                trainer.should_stop = True
        self.losses, self.since = [], time.monotonic()


def write_curves(rows: list[dict[str, float]], output: Path) -> None:
    """Write the table of a training beside its weights, ``.csv``.

    Parameters
    ----------
    rows : list of dict
        ``step``, ``loss``, and where it was judged the Dice of each tissue and of the brain.
    output : path
        Of the weights.
    """
    names = ('step', 'loss', *TISSUES, 'brain')
    lines = [','.join(names)]
    lines += [','.join(f'{row[n]:.6g}' if n in row else '' for n in names) for row in rows]
    _write_whole(output.with_suffix('.csv'), '\n'.join(lines) + '\n')


def draw_curves(rows: list[dict[str, float]], output: Path) -> None:
    """Draw the learning curves beside the weights, ``.png``; rows as of `write_curves`."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout='constrained')
    left, right = figure.subplots(1, 2)
    left.plot([r['step'] for r in rows], [r['loss'] for r in rows], color='#0072b2')
    left.set(xlabel='step', ylabel='loss of the training slices')
    judged = [r for r in rows if 'brain' in r]
    for name, colour in zip(
        (*TISSUES, 'brain'), ('#e69f00', '#009e73', '#56b4e9', 'k'), strict=True
    ):
        right.plot([r['step'] for r in judged], [r[name] for r in judged], '.-', color=colour)
        if judged:
            right.annotate(
                f'{name} {judged[-1][name]:.3f}', (judged[-1]['step'], judged[-1][name])
            )
    right.set(xlabel='step', ylabel='Dice of the validation animals')
    figure.savefig(output.with_suffix('.png'), dpi=100)


def _write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all."""
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    partial.write_text(text, encoding='utf-8')
    os.replace(partial, path)


def train(
    atlas: Atlas,
    output: Path,
    *,
    recipe: str = 'robust',
    steps: int = 8000,
    seed: int = 0,
    n_animals: int = 36,
    checkpoint_dir: Path | None = None,
    resume: bool = True,
    checkpoint_every: int = 200,
    scans: Sequence[LabelledScan] = (),
    init_weights: Path | None = None,
    patience: int = 0,
    device: str = 'cpu',
    source: str = '',
    command: str = '',
) -> dict[str, Any]:
    """Train a network on slices of animals simulated from an atlas, and on labelled scans.

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
    scans : sequence of LabelledScan
        Real scans to train on, beside the simulated animals.
    init_weights : path, optional
        Weights to go on from, of the recipe's architecture and spacing.
    patience : int
        Checkpoints without gain after which to stop; 0 never stops early.
    device : str
        ``cpu``, ``cuda`` (all GPUs) or ``cuda:N``.
    source, command : str
        What the data derive from, and the call; both for the model card.

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
    if recipe not in RECIPES:
        raise InputError(f'Recipe {recipe!r} is not known; choose one of {sorted(RECIPES)}.')
    if steps < 1:
        raise InputError(f'{steps} steps are too few; train for at least one.')
    chosen = RECIPES[recipe]
    checkpoint_dir = checkpoint_dir or output.with_suffix('.checkpoints')
    checkpoint_dir.mkdir(parents=True, exist_ok=True)
    split = split_animals(n_animals, np.random.default_rng([seed, 0]))
    identity = {'recipe': recipe, 'seed': seed, 'steps': steps, 'n_animals': n_animals}
    if scans:
        identity['scans'] = sorted(one.name for one in scans)
    started_from = None
    if init_weights is not None:
        started_from = _fitting(init_weights, chosen)
        identity['init_weights'] = started_from.checksum
    start, checkpoint = (
        _checkpoint(checkpoint_dir / 'last.ckpt', identity) if resume else (0, None)
    )

    def animals(numbers: tuple[int, ...]) -> list[Animal]:
        return [
            draw_animal(atlas, animal_rng(seed, n), chosen.spacing, chosen.side) for n in numbers
        ]

    torch.manual_seed(seed)
    module = SegmentationTraining(chosen, steps)
    if started_from is not None:
        module.net.load_state_dict(started_from.net.state_dict())
        module.average.load_state_dict(started_from.net.state_dict())
    metadata = {
        'spacing': str(chosen.spacing),
        'recipe': recipe,
        'seed': str(seed),
        'steps': str(steps),
        'version': secondglance.__version__,
        'derived_from': source,
    }
    shown = 'whole head' if chosen.heads else 'true mask'
    validation = [
        evaluation_slices(animal, np.random.default_rng([seed, 3, n]), background=shown)
        for n, animal in zip(split.validation, animals(split.validation), strict=True)
    ]
    progress = _Progress(validation, output, metadata, checkpoint_every, patience)
    trainer = lightning.Trainer(
        accelerator='gpu' if device.startswith('cuda') else 'cpu',
        devices=_devices(device),
        precision=chosen.precision,  # type: ignore[arg-type]
        max_steps=steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=checkpoint_dir,
        callbacks=[
            progress,
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
    batches = _Batches(animals(split.train), list(scans), seed, chosen, start)
    # Checkpoints hold tensors and plain values only, so no pickled code is ever run.
    # Slices are drawn beside the training, by one process: their order stays the same.
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    net = module.average.to('cpu')
    tested = list(zip(split.test, animals(split.test), strict=True))
    scores = {}
    for background in BACKGROUNDS:
        slices = (
            evaluation_slices(animal, np.random.default_rng([seed, 4, n]), background=background)
            for n, animal in tested
        )
        scores[background] = np.array([score(net, *pair) for pair in slices])
    draw_curves(progress.rows, output)
    checksum = save_weights(net, output, metadata)
    card = {
        'what': 'secondglance U-Net: background, WM, GM, CSF of coronal slices, '
        + ('of whole heads and background-free' if chosen.heads else 'background-free'),
        'data': f'{n_animals} animals simulated from the tissue maps of {source or "an atlas"}',
        'animals': asdict(split),
        'scans': {
            'animals': sorted({one.animal for one in scans}),
            'names': sorted(one.name for one in scans),
        },
        'started_from': started_from.checksum if started_from else None,
        'in_plane_spacing_mm': chosen.spacing,
        'normalisation': NORMALISATION,
        'recipe': asdict(chosen),
        'architecture': net.architecture,
        'parameters': sum(p.numel() for p in net.parameters()),
        'seed': seed,
        'steps': steps,
        'test_dice': {name: summarise(values) for name, values in scores.items()},
        'command': command,
        'checksum': checksum,
        'versions': {
            'secondglance': secondglance.__version__,
            'torch': torch.__version__,
            'numpy': np.__version__,
        },
        'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
        'limits': (
            'The figures are of simulated animals of the same atlas and say little about another '
            'scanner or strain: judge it on scans of yours with `secondglance evaluate`.'
        ),
    }
    card_text = json.dumps(card, indent=2, ensure_ascii=False) + '\n'
    _write_whole(output.with_suffix('.json'), card_text)
    return card


class _Identity(lightning.Callback):
    """Writes into each checkpoint which training it belongs to."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self.identity = identity

    def on_save_checkpoint(self, trainer, module, checkpoint) -> None:
        checkpoint['secondglance'] = self.identity


def _devices(device: str) -> list[int] | str | int:
    """Which devices Lightning takes: every GPU for ``cuda``, one for ``cuda:N``, one CPU."""
    if device.startswith('cuda:'):
        return [int(device[5:])]
    return 'auto' if device == 'cuda' else 1


def _fitting(path: Path, recipe: Recipe) -> LoadedModel:
    """Weights to start from, if a recipe can go on from them."""
    found = load_weights(path)
    if found.net.channels != recipe.channels or found.spacing != recipe.spacing:
        raise InputError(
            f'Weights {path} have channels {found.net.channels} at {found.spacing} mm, recipe '
            f'{recipe.name!r} {recipe.channels} at {recipe.spacing} mm; start from others.'
        )
    return found


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
