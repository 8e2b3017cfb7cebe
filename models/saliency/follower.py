"""A network and its target, followed back to the image: what saliency methods are written with."""

from __future__ import annotations

import contextlib

import torch
from torch import nn

from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES, TISSUES
from secondglance.models.saliency.rectifiers import (
    RefuseFunctionalReLU,
    calls,
    check_rectifiers,
    twin_of,
)


class Follower:
    """A copy of a network that follows a target back to the image.

    Parameters
    ----------
    net : torch.nn.Module
        Images (B, 1, H, W) to logits (B, 4, H, W); it is left as it is.
    function : type of torch.autograd.Function, optional
        Rule of the gradient that replaces each ReLU.
    target : str
        One of `secondglance.models.saliency.targets.TARGETS`.
    region : (B, H, W) tensor, optional
        Pixels with logits that count, 0 or 1; by default all.

    Raises
    ------
    InputError
        If there is a rule, and no ReLU in the network that it could replace.
    """

    def __init__(
        self,
        net: nn.Module,
        function: type[torch.autograd.Function] | None,
        target: str,
        region: torch.Tensor | None,
    ) -> None:
        self.function = function
        if self.function is not None:
            check_rectifiers(net)
        self.twin = twin_of(net, self.function)
        names = TISSUES if target == 'brain' else (target,)
        self.channels = [CLASSES.index(name) for name in names]
        self.region = region

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4, H, W), with what the way back needs."""
        strict = contextlib.nullcontext() if self.function is None else RefuseFunctionalReLU()
        with strict:
            logits: torch.Tensor = self.twin(images)
        if self.function is not None and not calls(self.twin):
            raise InputError(
                'No torch.nn.ReLU of the network took part in its forward pass, so there is '
                'nothing to guide; ask for `gradient`, or use a network with ReLUs.'
            )
        return logits

    def logits(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (B, 4, H, W) alone."""
        with torch.no_grad():
            return self.forward(images)

    def gradient(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gradient (B, H, W) of the summed logits of the target, and all logits (B, 4, H, W)."""
        source = images.detach().requires_grad_(True)
        logits = self.forward(source)
        wanted = logits[:, self.channels]
        if self.region is not None:
            wanted = wanted * self.region[:, None].to(wanted)
        (gradient,) = torch.autograd.grad(wanted.sum(), source)
        return gradient[:, 0], logits.detach()
