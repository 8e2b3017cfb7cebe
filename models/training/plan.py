"""Settings of a training: split, identity, checkpoint to resume from, and model card."""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import secondglance
from secondglance.files.atomic import write_whole
from secondglance.imaging.errors import InputError
from secondglance.imaging.intensity import NORMALISATION
from secondglance.models.training.placed_scans import PlacedScan
from secondglance.models.training.recipes import Recipe
from secondglance.models.training.scans import LabelledScan
from secondglance.models.training.split import Split, split_animals
from secondglance.models.unet import UNet
from secondglance.models.weights import FORMAT, LoadedModel, load_weights


@dataclass(frozen=True)
class Plan:
    """A training as it was asked for.

    Attributes
    ----------
    output : path
        Weights, ``.safetensors``; the model card goes beside it, ``.json``.
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
    patience : int
        Checkpoints without gain after which to stop; 0 never stops early.
    device : str
        ``cpu``, ``cuda`` (all GPUs) or ``cuda:N``.
    source, command : str
        What the data derive from, and the call; both for the model card.

    Raises
    ------
    InputError
        For too few steps.
    """

    output: Path
    steps: int
    seed: int = 0
    n_animals: int = 36
    checkpoint_dir: Path | None = None
    resume: bool = True
    checkpoint_every: int = 200
    scans: Sequence[LabelledScan] = ()
    patience: int = 0
    device: str = 'cpu'
    source: str = ''
    command: str = ''

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise InputError(f'{self.steps} steps are too few; train for at least one.')

    @property
    def folder(self) -> Path:
        """Where checkpoints go; made where it is not there."""
        found = self.checkpoint_dir or self.output.with_suffix('.checkpoints')
        found.mkdir(parents=True, exist_ok=True)
        return found

    @property
    def split(self) -> Split:
        """Which animal is in which part."""
        return split_animals(self.n_animals, np.random.default_rng([self.seed, 0]))

    def identity(self, recipe: Recipe, **more: str) -> dict[str, Any]:
        """What makes this training another than others, for its checkpoints.

        Parameters
        ----------
        recipe : Recipe
        **more : str
            What else makes a difference, such as the checksum of another network.

        Returns
        -------
        dict
            Plain values, compared with those in a checkpoint.
        """
        names = {'scans': sorted(one.name for one in self.scans)} if self.scans else {}
        return {
            'recipe': recipe.name,
            'seed': self.seed,
            'steps': self.steps,
            'n_animals': self.n_animals,
            **names,
            **more,
        }

    def checkpoint(self, identity: dict[str, Any]) -> tuple[int, Path | None]:
        """Find the checkpoint to go on from, and its step.

        Parameters
        ----------
        identity : dict
            Of this training.

        Returns
        -------
        int, path or None
            (0, None) where there is none, or none is wanted.

        Raises
        ------
        InputError
            As of `last_checkpoint`.
        """
        if not self.resume:
            return 0, None
        return last_checkpoint(self.folder / 'last.ckpt', identity)

    def metadata(self, recipe: Recipe) -> dict[str, str]:
        """Gather what the header of the weights says.

        Parameters
        ----------
        recipe : Recipe

        Returns
        -------
        dict of str
            Spacing in mm, recipe, seed, steps, version, and where the training data are from.
        """
        return {
            'spacing': str(recipe.spacing),
            'recipe': recipe.name,
            'seed': str(self.seed),
            'steps': str(self.steps),
            'version': secondglance.__version__,
            'derived_from': self.source,
        }

    def write_card(
        self, recipe: Recipe, net: UNet, checksum: str, first: dict[str, Any], last: dict[str, Any]
    ) -> dict[str, Any]:
        """Write the model card beside the weights.

        Parameters
        ----------
        recipe : Recipe
        net : UNet
        checksum : str
            Of the weights, SHA-256.
        first, last : dict
            What the network is, and what it is worth: the first and the last entries of the card.

        Returns
        -------
        dict
            The card, as it was written.
        """
        card = {
            **first,
            'animals': asdict(self.split),
            'scans': named_on_card(self.scans),
            'in_plane_spacing_mm': recipe.spacing,
            'normalisation': NORMALISATION,
            'recipe': asdict(recipe),
            'architecture': net.architecture,
            'parameters': sum(p.numel() for p in net.parameters()),
            'seed': self.seed,
            'steps': self.steps,
            **last,
            'command': self.command,
            'checksum': checksum,
            'versions': {
                'secondglance': secondglance.__version__,
                'torch': torch.__version__,
                'numpy': np.__version__,
            },
            'date': datetime.datetime.now(datetime.UTC).date().isoformat(),
            'limits': (
                'The figures are of simulated animals of the same atlas and say little about '
                'another scanner or strain: judge it on scans of yours with `secondglance '
                'evaluate`.'
            ),
        }
        text = json.dumps(card, indent=2, ensure_ascii=False) + '\n'
        write_whole(self.output.with_suffix('.json'), text)
        return card


def named_on_card(scans: Sequence[LabelledScan | PlacedScan]) -> dict[str, list[str]]:
    """Animals, names and digests of scans, as a model card has them."""
    return {
        'animals': sorted({one.animal for one in scans}),
        'names': sorted(one.name for one in scans),
        'digests': sorted(one.digest for one in scans if one.digest),
    }


def weights_to_start_from(
    path: Path | None, recipe: Recipe, form: str = FORMAT
) -> tuple[LoadedModel | None, dict[str, str]]:
    """Load weights that a recipe can go on from.

    Parameters
    ----------
    path : path or None
        None for a training that starts afresh.
    recipe : Recipe
    form : str
        Of the weights, as in `load_weights`.

    Returns
    -------
    LoadedModel or None
    dict
        What they add to the identity of the training.

    Raises
    ------
    InputError
        If they are of another size or spacing than the recipe.
    """
    if path is None:
        return None, {}
    found = load_weights(path, form=form)
    if found.net.channels != recipe.channels or found.spacing != recipe.spacing:
        raise InputError(
            f'Weights {path} have channels {found.net.channels} at {found.spacing} mm, recipe '
            f'{recipe.name!r} {recipe.channels} at {recipe.spacing} mm; start from others.'
        )
    return found, {'init_weights': found.checksum}


def last_checkpoint(path: Path, identity: dict[str, Any]) -> tuple[int, Path | None]:
    """Find the step at which a checkpoint was taken.

    Parameters
    ----------
    path : path
        Of the checkpoint.
    identity : dict
        What the training is that goes on: recipe, seed, steps, animals.

    Returns
    -------
    int, path or None
        Step at which it was taken, and its path; (0, None) where there is none.

    Raises
    ------
    InputError
        If the checkpoint cannot be read, or is of another training.
    """
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
