"""The loop that every training here runs through: Lightning, a running average, checkpoints.

Every step draws its batch from a generator seeded by (seed, step) alone, so a run that was killed
continues from its last checkpoint with exactly the same batches.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from secondglance.files.atomic import write_whole
from secondglance.models.pace import Pace
from secondglance.models.training.plan import Plan, weights_to_start_from
from secondglance.models.training.recipes import Recipe
from secondglance.models.unet import UNet
from secondglance.models.weights import FORMAT, save_weights, trained_on

N_MEAN = 20
"""Steps over which the loss that is shown is averaged."""


class SeededBatches(IterableDataset):
    """Batches for the steps from `start` on; step t depends on (seed, t) alone.

    Parameters
    ----------
    seed, start : int
    """

    def __init__(self, seed: int, start: int) -> None:
        self.seed, self.start = seed, start

    def draw(self, rng: np.random.Generator) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw what goes in and the truth, of one step."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        step = self.start
        # Each of several GPUs sees slices of its own; Lightning numbers its processes.
        rank = [r] if (r := int(os.environ.get('LOCAL_RANK', 0))) else []
        while True:
            yield self.draw(np.random.default_rng([self.seed, 2, step, *rank]))
            step += 1


class AveragedTraining(lightning.LightningModule):
    """A network, its running average and its optimiser; the loss is the subclass's.

    Parameters
    ----------
    net : UNet
    recipe : Recipe
    steps : int
        Length of the whole training; the cosine of the learning rate ends there.
    """

    def __init__(self, net: UNet, recipe: Recipe, steps: int) -> None:
        super().__init__()
        self.recipe, self.steps = recipe, steps
        # Channels-last convolutions are a third faster on CPU and give the same numbers.
        self.net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.average = copy.deepcopy(self.net).eval().requires_grad_(False)

    def go_on_from(self, net: UNet) -> None:
        """Start from the weights of another network.

        Parameters
        ----------
        net : UNet
            Of the same shape; its weights are copied to the network and to the running average.
        """
        self.net.load_state_dict(net.state_dict())
        self.average.load_state_dict(net.state_dict())

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


class Progress(lightning.Callback):
    """Reports progress: lines on screen, a table, and the averaged weights so far.

    A line at the first step and every few seconds: loss, the last Dice of the validation animals
    and the time left. In the table, every 100 steps the mean loss; at every checkpoint that Dice,
    too. Stops early where the last of these has not risen for the plan's `patience` of
    checkpoints.

    Parameters
    ----------
    judge : callable
        From the averaged network to Dice by name, the one that counts last; None where there is
        nothing to judge by.
    save : callable
        Writes the averaged network, given it and the step.
    plan : Plan
    """

    def __init__(
        self,
        judge: Callable[[UNet], Mapping[str, float]] | None,
        save: Callable[[UNet, int], object],
        plan: Plan,
    ) -> None:
        self.judge, self.save, self.plan = judge, save, plan
        self.losses: list[float] = []
        self.rows: list[dict[str, float]] = []
        self.dice = ''
        self.started, self.pace = False, Pace(plan.steps)

    def state_dict(self) -> dict[str, Any]:
        return {'rows': self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = list(state_dict['rows'])

    def on_train_start(self, trainer: Any, module: Any) -> None:
        step, last = trainer.global_step, trainer.max_steps
        again = f', on from step {step}' if step else ''
        n_slices = module.recipe.batch_size
        print(f'{last - step} steps of {n_slices} slices on {module.device}{again}.', flush=True)
        if self.judge is not None:
            self.dice = _words_of(self.judge(module.average))
            print(f'step {step}/{last}  validation Dice {self.dice}', flush=True)

    def on_train_batch_start(self, trainer: Any, module: Any, batch: Any, batch_idx: int) -> None:
        if not self.started:
            # From here: the process that draws the batches took its time to start
            self.started, self.pace = True, Pace(trainer.max_steps, trainer.global_step)

    def on_train_batch_end(self, trainer: Any, module: Any, outputs: Any, *args: Any) -> None:
        self.losses.append(float(outputs['loss'].detach()))
        step, last = trainer.global_step, trainer.max_steps
        judged = step % self.plan.checkpoint_every == 0 or step == last
        if step % 100 == 0 or judged:
            self._add_row(module, step, judged)
        if self.pace.due() or judged:
            loss = np.mean(self.losses[-N_MEAN:] or self.rows[-1]['loss'])
            told = f'  validation Dice {self.dice}' if self.dice else ''
            left = f'  {self.pace.left(step)} left' if step < last else ''
            print(f'step {step}/{last}  loss {loss:.4f}{told}{left}', flush=True)
        if self.plan.patience and judged:
            best = [r[_judged_by(r)[-1]] for r in self.rows if _judged_by(r)]
            if len(best) - 1 - int(np.argmax(best)) >= self.plan.patience:
                print(f'Nothing was gained for {self.plan.patience} checkpoints: stopped.')
                trainer.should_stop = True

    def _add_row(self, module: AveragedTraining, step: int, judged: bool) -> None:
        """Add a row to the table; of a checkpoint with its Dice, the weights being saved."""
        row = {'step': float(step), 'loss': float(np.mean(self.losses))}
        if judged and self.judge is not None:
            found = self.judge(module.average)
            row |= found
            self.dice = _words_of(found)
        self.rows.append(row)
        write_curves(self.rows, self.plan.output)
        if judged:
            self.save(module.average, step)
        self.losses = []


def _words_of(found: Mapping[str, float]) -> str:
    """Dice by name, then how well coordinates are met, which is 1 where they are exact."""
    dice = [f'{name} {value:.3f}' for name, value in found.items() if name != 'place']
    others = [f'closeness of place {found["place"]:.3f}'] if 'place' in found else []
    return '  '.join(dice + others)


def _judged_by(row: Mapping[str, float]) -> list[str]:
    """Names of the Dice in a row of the table."""
    return [name for name in row if name not in ('step', 'loss')]


def write_curves(rows: Sequence[Mapping[str, float]], output: Path) -> None:
    """Write the table of a training beside its weights, ``.csv``.

    Parameters
    ----------
    rows : sequence of mapping
        ``step``, ``loss``, and where it was judged Dice by name.
    output : path
        Of the weights.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    lines = [','.join(names)]
    lines += [','.join(f'{row[n]:.6g}' if n in row else '' for n in names) for row in rows]
    write_whole(output.with_suffix('.csv'), '\n'.join(lines) + '\n')


def draw_curves(rows: Sequence[Mapping[str, float]], output: Path) -> None:
    """Draw the learning curves beside the weights.

    Parameters
    ----------
    rows : sequence of mappings
        As of `write_curves`: ``step``, ``loss``, and scores in [0, 1] where they were taken.
    output : path
        Of the weights; the picture has its name and the ending ``.png``.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 3.4), layout='constrained')
    left, right = figure.subplots(1, 2)
    left.plot([r['step'] for r in rows], [r['loss'] for r in rows], color='#0072b2')
    left.set(xlabel='step', ylabel='loss of the training slices')
    judged = [r for r in rows if _judged_by(r)]
    colours = ('#e69f00', '#009e73', '#56b4e9', 'k')
    for name, colour in zip(_judged_by(judged[-1]) if judged else [], colours, strict=False):
        last = f'{name}, at last {judged[-1][name]:.3f}'
        steps = [r['step'] for r in judged]
        right.plot(steps, [r[name] for r in judged], '.-', color=colour, label=last)
    right.set(xlabel='step', ylabel='Dice of the validation animals')
    if judged:
        figure.legend(loc='outside right center', frameon=False, fontsize=8)
    figure.savefig(output.with_suffix('.png'), dpi=100)


def fit(
    module: AveragedTraining,
    batches: IterableDataset,
    progress: Progress,
    plan: Plan,
    identity: dict[str, Any],
    checkpoint: Path | None = None,
) -> UNet:
    """Train to the recipe's end, or where `progress` stops it.

    Parameters
    ----------
    module : AveragedTraining
    batches : IterableDataset
        From the step of `checkpoint` on.
    progress : Progress
    plan : Plan
    identity : dict
        What this training is, written into each checkpoint.
    checkpoint : path, optional
        To go on from, as `Plan.checkpoint` finds it.

    Returns
    -------
    UNet
        The running average, on the CPU.
    """
    trainer = lightning.Trainer(
        accelerator='gpu' if plan.device.startswith('cuda') else 'cpu',
        devices=_devices(plan.device),
        precision=_precision(module.recipe.precision, plan.device),  # type: ignore[arg-type]
        max_steps=module.steps,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=plan.folder,
        callbacks=[
            progress,
            lightning.pytorch.callbacks.ModelCheckpoint(
                plan.folder,
                filename='last',
                every_n_train_steps=plan.checkpoint_every,
                save_top_k=1,
                enable_version_counter=False,
            ),
            _Identity(identity),
        ],
    )
    # Batches are drawn beside the training, by one process: their order stays the same.
    loader = DataLoader(batches, batch_size=None, num_workers=1, prefetch_factor=4)
    # Checkpoints hold tensors and plain values only, so no pickled code is ever run.
    trainer.fit(module, loader, ckpt_path=checkpoint, weights_only=True)
    return module.average.to('cpu')


class TrainingRun:
    """A training from its plan to its weights: afresh, or on from a checkpoint.

    Parameters
    ----------
    kind : type of AveragedTraining
        Made from recipe and steps.
    plan : Plan
    recipe : Recipe
    init_weights : path, optional
        Weights of the recipe's architecture and spacing to start from.
    form : str
        Form of the weights, as in `load_weights`.
    **more : str
        What else makes this training another than others.

    Attributes
    ----------
    module : AveragedTraining
    start : int
        Step at which it goes on; 0 if it begins.
    metadata : dict of str
        Written into the header of the weights.
    origin : dict
        Of the weights that it started from: their checksum, and names of the scans that they were
        trained on; for the card.
    """

    def __init__(
        self,
        kind: Callable[[Recipe, int], AveragedTraining],
        plan: Plan,
        recipe: Recipe,
        init_weights: Path | None = None,
        form: str = FORMAT,
        **more: str,
    ) -> None:
        first, known = weights_to_start_from(init_weights, recipe, form)
        self.plan, self.form = plan, form
        self.identity = plan.identity(recipe, **known, **more)
        self.start, self.checkpoint = plan.checkpoint(self.identity)
        self.metadata = plan.metadata(recipe)
        self.origin = {
            'started_from': first.checksum if first else None,
            'trained_before_on': sorted(trained_on(init_weights)) if init_weights else [],
        }
        torch.manual_seed(plan.seed)
        self.module = kind(recipe, plan.steps)
        if first is not None:
            self.module.go_on_from(first.net)

    def fit(
        self, batches: IterableDataset, judge: Callable[[UNet], dict[str, float]] | None
    ) -> UNet:
        """Train, judging as `Progress` does, draw the curves, and give the averaged network."""
        progress = Progress(judge, self.save, self.plan)
        net = fit(self.module, batches, progress, self.plan, self.identity, self.checkpoint)
        draw_curves(progress.rows, self.plan.output)
        return net

    def save(self, net: UNet, step: int | None = None) -> str:
        """Write the weights, at the end or so far.

        Parameters
        ----------
        net : UNet
        step : int, optional
            With it, the header says that the training was not at its end, and where.

        Returns
        -------
        str
            Checksum of the weights, SHA-256.
        """
        so_far = {} if step is None else {'step': str(step)}
        return save_weights(net, self.plan.output, {**self.metadata, **so_far}, self.form)


class _Identity(lightning.Callback):
    """Writes into each checkpoint which training it belongs to."""

    def __init__(self, identity: dict[str, Any]) -> None:
        self.identity = identity

    def on_save_checkpoint(self, trainer: Any, module: Any, checkpoint: dict) -> None:
        checkpoint['secondglance'] = self.identity


def _precision(asked: str, device: str) -> str:
    """Precision of the recipe; float32 on a CPU without fast bfloat16.

    Without the instructions for it, a step in bfloat16 takes twice as long as one in float32.
    """
    if asked.startswith('bf16') and not device.startswith('cuda'):
        # torch before 2.6 does not say
        told = ('_is_avx512_bf16_supported', '_is_amx_tile_supported')
        quick = any(getattr(torch.cpu, name, bool)() for name in told)
        return asked if quick else '32-true'
    return asked


def _devices(device: str) -> list[int] | str | int:
    """Which devices Lightning takes: every GPU for ``cuda``, one for ``cuda:N``, one CPU."""
    if device.startswith('cuda:'):
        return [int(device[5:])]
    return 'auto' if device == 'cuda' else 1
