"""The plain gradient."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from secondglance.models.saliency.attribution import Follower

NAME = 'gradient'
CITATION = 'the gradient (Simonyan et al. 2013, arXiv:1312.6034)'


def attribute(
    follow: Follower, images: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradient of the target; ReLUs follow the rule of ``RECTIFIER``, if there is one."""
    return follow.gradient(images)
