"""Guided backpropagation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from secondglance.models.saliency.rectifiers import GuidedReLU

if TYPE_CHECKING:
    from secondglance.models.saliency.attribution import Follower

NAME = 'guided'
CITATION = 'guided backpropagation (Springenberg et al. 2014, arXiv:1412.6806)'
RECTIFIER = GuidedReLU


def attribute(
    follow: Follower, images: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradient of the target; ReLUs follow the rule of ``RECTIFIER``, if there is one."""
    return follow.gradient(images)
