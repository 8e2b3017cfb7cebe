"""Saliency: gradients of a target with respect to every pixel.

The forward pass that a map needs is also the first segmentation, so both come out of one call.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from secondglance.imaging.errors import InputError
from secondglance.imaging.intensity import normalise_slices
from secondglance.models.inference import (
    background_alone,
    each_batch,
    pad_to_stride,
    slices_at_once,
    window_of_head,
)
from secondglance.models.saliency.follower import Follower
from secondglance.models.saliency.methods import saliency_methods
from secondglance.models.saliency.targets import TARGETS
from secondglance.models.weights import LoadedModel


@dataclass(frozen=True)
class Smoothing:
    """SmoothGrad: the mean of the maps of noisy copies of an image.

    Attributes
    ----------
    copies : int
        How many; none leaves the image as it is.
    noise : float
        Standard deviation, as a share of the range of each image.
    seed : int
        Of the noise.

    References
    ----------
    Smilkov et al., *SmoothGrad: removing noise by adding noise*, 2017, arXiv:1706.03825.
    """

    copies: int = 0
    noise: float = 0.1
    seed: int = 0

    def noisy(self, images: torch.Tensor) -> Iterator[torch.Tensor]:
        """Draw copies of images with noise added; all slices have the same noise.

        Parameters
        ----------
        images : (B, 1, H, W) tensor
            They stay as they are.
        """
        spread = self.noise * (images.amax((1, 2, 3)) - images.amin((1, 2, 3)))
        generator = torch.Generator().manual_seed(self.seed)
        for _ in range(self.copies):
            # The same for every slice: how a stack is cut into batches changes nothing
            noise = torch.randn(images.shape[1:], generator=generator, dtype=images.dtype)
            yield images + spread[:, None, None, None] * noise.to(images.device)


NOT_SMOOTHED = Smoothing()


INTEGRATION_STEPS = 32
"""Points between a black image and the image at which integrated gradients are taken."""


def saliency(
    net: nn.Module,
    images: torch.Tensor,
    target: str = 'brain',
    method: str = 'guided',
    *,
    region: torch.Tensor | None = None,
    smoothing: Smoothing = NOT_SMOOTHED,
    steps: int = INTEGRATION_STEPS,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Attribute a target to each pixel, and give the logits of the same forward pass.

    The network itself is never changed: the pass runs through a copy of its tree of modules, made
    for this call, that shares the tensors. So calls may run in parallel, and a failed call leaves
    the network intact.

    Parameters
    ----------
    net : torch.nn.Module
        From images to logits ``(B, 4, H, W)``; run in evaluation mode, whatever its own mode.
    images : tensor, shape (B, 1, H, W)
        As the network was trained on; H and W are multiples of its stride.
    target : str
        One of `TARGETS`: the sum of that tissue's logits, or of those of the three tissues.
        Logits, since softmax saturates and its gradient is then empty.
    method : str
        A name of `secondglance.models.saliency.methods`: guided backpropagation, Deconvnet, the
        gradient, the gradient times the pixel, or the mean gradient on the way from a black image
        times the pixel.
    region : tensor, shape (B, H, W), optional
        Weight of each pixel's logits in the sum, such as a mask or a single voxel; by default one
        everywhere.
    smoothing : Smoothing
        Whether to take the mean over noisy copies, of any method.
    steps : int
        Points of integrated gradients, by Gauss-Legendre quadrature.

    Returns
    -------
    saliency : tensor, shape (B, H, W)
        Signed. Unit of the logits per unit of normalised intensity; of the two last methods, unit
        of the logits.
    logits : tensor, shape (B, 4, H, W)
        Of the images as they are, without a graph.

    Raises
    ------
    InputError
        For an unknown target or method; for a network in which guided backpropagation or
        Deconvnet would miss a ReLU: none as a module, a functional one, one in place.

    References
    ----------
    Springenberg et al., *Striving for simplicity: the all convolutional net*, ICLR 2015, figure 1;
    Zeiler and Fergus, *Visualizing and understanding convolutional networks*, ECCV 2014;
    Sundararajan et al., *Axiomatic attribution for deep networks*, ICML 2017;
    Matos et al. 2019, section 2.2.
    """
    if target not in TARGETS:
        raise InputError(f'Target {target!r} is not known; choose one of {", ".join(TARGETS)}.')
    methods = saliency_methods()
    if method not in methods:
        raise InputError(
            f'Saliency method {method!r} is not known; choose one of {", ".join(methods)}.'
        )
    module = methods[method].load()
    attribute = getattr(module, 'attribute', _gradient)
    follow = Follower(net, getattr(module, 'RECTIFIER', None), target, region)
    # Also where the caller has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        images = images.detach().clone()
        if smoothing.copies:
            logits = follow.logits(images)
            total = torch.zeros_like(images[:, 0])
            for noisy in smoothing.noisy(images):
                total += attribute(follow, noisy, steps)[0]
            return total / smoothing.copies, logits
        found, logits = attribute(follow, images, steps)
        return found, follow.logits(images) if logits is None else logits


def _gradient(
    follow: Follower, images: torch.Tensor, steps: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Map of a method that defines none of its own."""
    return follow.gradient(images)


def saliency_stack(
    model: LoadedModel,
    stack: NDArray,
    target: str = 'brain',
    method: str = 'guided',
    device: str = 'cpu',
    batch_size: int | None = None,
    *,
    region: NDArray | None = None,
    smoothing: Smoothing = NOT_SMOOTHED,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Saliency and first segmentation of a stack of slices.

    Parameters
    ----------
    model : LoadedModel
    stack : array, shape (N, H, W)
        Intensities in any unit, at the in-plane spacing of the weights; of any size.
    target, method : str
        See `saliency`.
    device : str
        Torch device.
    batch_size : int, optional
        Slices at once, by default as of `secondglance.models.inference`.
    region : array, shape (N, H, W), optional
        Weight of each pixel's logits in the target.
    smoothing : Smoothing

    Returns
    -------
    maps : array of float32, shape (N, H, W)
        Signed, of the normalised intensity.
    probabilities : array of float32, shape (N, 4, H, W)
        In [0, 1]; the same as `secondglance.models.inference.predict` returns.

    Raises
    ------
    InputError
        See `saliency`.
    """
    window = window_of_head(stack, model.stride)
    images = torch.from_numpy(normalise_slices(np.asarray(stack))[:, *window])[:, None]
    padded, inside = pad_to_stride(images, model.stride)
    weight = None
    if region is not None:
        weights = torch.from_numpy(np.asarray(region, np.float32)[:, *window])
        weight, _ = pad_to_stride(weights, model.stride)
    net = model.quick.to(device)
    maps = np.zeros(stack.shape, np.float32)
    probabilities = background_alone(len(model.classes), stack.shape)

    def explain(part: slice) -> None:
        gradient, logits = saliency(
            net,
            padded[part].to(device),
            target,
            method,
            region=None if weight is None else weight[part],
            smoothing=smoothing,
        )
        maps[part, *window] = gradient[..., *inside].cpu().numpy()
        probabilities[part, :, *window] = logits.softmax(dim=1)[..., *inside].cpu().numpy()

    most = batch_size or slices_at_once(device, padded.shape[-2:])
    each_batch(explain, len(stack), device, most)
    return maps, probabilities
