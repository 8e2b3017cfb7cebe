"""Deconvnet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from secondglance.models.saliency.rectifiers import DeconvnetReLU

if TYPE_CHECKING:
    from secondglance.models.saliency.attribution import Follower

NAME = 'deconvnet'
CITATION = 'a deconvolutional network (Zeiler and Fergus 2014, arXiv:1311.2901)'
RECTIFIER = DeconvnetReLU


def attribute(
    follow: Follower, images: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Gradient of the target; ReLUs follow the rule of ``RECTIFIER``, if there is one."""
    return follow.gradient(images)
