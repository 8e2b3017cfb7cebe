"""How networks are trained: an entry a recipe, which command line, training and docs read."""

from __future__ import annotations

from dataclasses import dataclass, replace

from secondglance.imaging.published import PAPER_SPACING


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes
    ----------
    name : str
    summary : str
        For ``--help``.
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
        Whether most slices show whole heads (`secondglance.simulation.head_slices`); otherwise all
        are background-free.
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
    trains : {'segmentation', 'refinement', 'second glance'}
        Which network.
    from_shipped : bool
        Whether it starts from the weights that ship unless others are named.
    """

    name: str
    summary: str
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
    trains: str = 'segmentation'
    from_shipped: bool = False


_ROBUST = Recipe(
    'robust',
    'whole heads of every contrast',
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
)

RECIPES: dict[str, Recipe] = {
    one.name: one
    for one in (
        _ROBUST,
        replace(
            _ROBUST,
            name='fine-tune',
            summary='the same from --init-weights, at a lower learning rate',
            learning_rate=5e-4,
            average=0.99,
            steps=500,
            n_animals=12,
            from_shipped=True,
        ),
        # Section 3.2
        Recipe('paper', 'as Matos et al. 2019', 5, 3e-4, 0.0, 'sgd', decay=1.5e-6),
        replace(
            _ROBUST,
            name='refine',
            summary='the refinement of the brain mask, from the first glance of --first',
            learning_rate=2e-3,
            average=0.995,
            channels=(16, 32, 64, 96),
            steps=3000,
            n_animals=60,
            trains='refinement',
        ),
        replace(
            _ROBUST,
            name='second-glance',
            summary='tissues and place in the atlas inside a brain mask',
            learning_rate=2e-3,
            average=0.998,
            spacing=0.2,
            side=80,
            channels=(20, 40, 80, 128, 160),
            scan_share=0.5,
            steps=8000,
            n_animals=120,
            trains='second glance',
        ),
    )
}
"""Recipes by name: an entry each."""
