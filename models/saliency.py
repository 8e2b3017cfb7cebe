"""What held the network's attention: guided backpropagation, Deconvnet, plain gradient.

The forward pass that a map needs is also the first segmentation, so both come out of one call.
"""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.overrides import TorchFunctionMode

from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES, TISSUES
from secondglance.models.inference import normalise_slices, pad_to_stride

METHODS: tuple[str, ...] = ('guided', 'deconvnet', 'gradient')
"""How the gradient passes a ReLU; the first is the paper's."""

TARGETS: tuple[str, ...] = ('brain', *TISSUES)
"""Whose logits are summed: one tissue's or all three."""

_FUNCTIONAL_RECTIFIERS = {
    torch.relu,
    torch.relu_,
    torch.Tensor.relu,
    torch.Tensor.relu_,
    nn.functional.relu,
    nn.functional.threshold,
    nn.functional.relu6,
    nn.functional.leaky_relu,
    nn.functional.elu,
    nn.functional.gelu,
    nn.functional.silu,
}
_CLAMPS = {torch.clamp, torch.clamp_min, torch.Tensor.clamp, torch.Tensor.clamp_min}
_OTHER_RECTIFIERS = (
    nn.ReLU6,
    nn.LeakyReLU,
    nn.PReLU,
    nn.RReLU,
    nn.ELU,
    nn.SELU,
    nn.CELU,
    nn.GELU,
    nn.SiLU,
    nn.Mish,
    nn.Softplus,
    nn.Hardswish,
)


def _rectify(values: torch.Tensor) -> torch.Tensor:
    return torch.where(values < 0, torch.zeros_like(values), values)


class _GuidedReLU(torch.autograd.Function):
    """ReLU whose gradient passes only where input and arriving gradient are positive."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(features > 0)
        return _rectify(features)

    @staticmethod
    def backward(ctx: Any, *arriving: torch.Tensor) -> torch.Tensor:
        (positive,) = ctx.saved_tensors
        return _rectify(arriving[0]) * positive


class _DeconvnetReLU(torch.autograd.Function):
    """ReLU whose gradient passes only where the arriving gradient is positive."""

    @staticmethod
    def forward(ctx: Any, features: torch.Tensor) -> torch.Tensor:
        return _rectify(features)

    @staticmethod
    def backward(ctx: Any, *arriving: torch.Tensor) -> torch.Tensor:
        return _rectify(arriving[0])


class _Rectifier(nn.Module):
    """Stands in for one `torch.nn.ReLU` during one call."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function
        self.calls = 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.function.apply(features)  # type: ignore[no-any-return]


class _RefuseFunctionalReLU(TorchFunctionMode):
    """Stops at a ReLU that is no module and so could not be guided."""

    def __torch_function__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func in _FUNCTIONAL_RECTIFIERS or (
            func in _CLAMPS and _lowest(func, args, kwargs) == 0
        ):
            raise InputError(
                'The network rectifies with a function (such as torch.relu), which guided '
                'backpropagation cannot reach; use a torch.nn.ReLU module for each.'
            )
        return func(*args, **(kwargs or {}))


def _lowest(func: Any, args: tuple, kwargs: dict | None) -> Any:
    given = (kwargs or {}).get('min', args[1] if len(args) > 1 else None)
    return None if isinstance(given, torch.Tensor) else given


def _check_rectifiers(net: nn.Module) -> None:
    """Raise `InputError` where a ReLU cannot be guided, or where there is none."""
    relus = [module for module in net.modules() if isinstance(module, nn.ReLU)]
    if not relus:
        raise InputError(
            'The network has no torch.nn.ReLU module, so there is nothing to guide and the map '
            'would be the plain gradient; ask for `gradient`, or use a network with ReLUs.'
        )
    if any(module.inplace for module in relus):
        raise InputError(
            'The network has an in-place ReLU, which overwrites what guiding it needs; '
            'build it with torch.nn.ReLU(inplace=False).'
        )
    for module in net.modules():
        if isinstance(module, _OTHER_RECTIFIERS):
            raise InputError(
                f'The network has a {type(module).__name__}, for which guided backpropagation is '
                'not defined; use a network with torch.nn.ReLU, or ask for `gradient`.'
            )


def _twin(module: nn.Module, function: type[torch.autograd.Function] | None) -> nn.Module:
    """Copy the tree of modules, not their tensors, with each ReLU replaced by a rectifier.

    A module used in two places of the tree stays one module in two places.
    """
    copies: dict[int, nn.Module] = {}

    def duplicate(original: nn.Module) -> nn.Module:
        if id(original) not in copies:
            if function is not None and isinstance(original, nn.ReLU):
                copies[id(original)] = _Rectifier(function)
                return copies[id(original)]
            twin = copies[id(original)] = copy.copy(original)
            # copy.copy shares these dictionaries; the twin must own the ones that change.
            twin._modules = {
                name: None if child is None else duplicate(child)
                for name, child in original._modules.items()
            }
            # Parameters are shared by value but need no gradient, whatever the original's do.
            twin._parameters = {
                name: None if p is None else nn.Parameter(p.detach(), requires_grad=False)
                for name, p in original._parameters.items()
            }
            twin.training = False
        return copies[id(original)]

    return duplicate(module)


def saliency(
    net: nn.Module,
    images: torch.Tensor,
    target: str = 'brain',
    method: str = 'guided',
) -> tuple[torch.Tensor, torch.Tensor]:
    """Gradient of a target with respect to each pixel, and the logits, from one forward pass.

    The network is never touched: the pass runs through a copy of its tree of modules that shares
    the tensors, made for this call alone. So calls may run side by side, and one that fails
    leaves nothing behind.

    Parameters
    ----------
    net : torch.nn.Module
        From images to logits ``(B, 4, H, W)``; seen in evaluation mode, whatever its own mode.
    images : tensor, shape (B, 1, H, W)
        As the network was trained on; H and W are multiples of its stride.
    target : str
        One of `TARGETS`: the sum of that tissue's logits, or of those of the three tissues.
        Logits, since softmax saturates and its gradient is then empty.
    method : str
        One of `METHODS`.

    Returns
    -------
    saliency : tensor, shape (B, H, W)
        Signed; unit of the logits per unit of normalised intensity.
    logits : tensor, shape (B, 4, H, W)
        Without a graph.

    Raises
    ------
    InputError
        For an unknown target or method; for a network in which guided backpropagation or
        Deconvnet would miss a ReLU: none as a module, a functional one, one in place.

    References
    ----------
    Springenberg et al., *Striving for simplicity: the all convolutional net*, ICLR 2015, figure 1;
    Zeiler and Fergus, *Visualizing and understanding convolutional networks*, ECCV 2014;
    Matos et al. 2019, section 2.2.
    """
    if target not in TARGETS:
        raise InputError(f'Target {target!r} is not known; choose one of {", ".join(TARGETS)}.')
    if method not in METHODS:
        raise InputError(
            f'Saliency method {method!r} is not known; choose one of {", ".join(METHODS)}.'
        )
    function: type[torch.autograd.Function] | None = None
    if method != 'gradient':
        _check_rectifiers(net)
        function = _GuidedReLU if method == 'guided' else _DeconvnetReLU
    twin = _twin(net, function)
    strict = contextlib.nullcontext() if function is None else _RefuseFunctionalReLU()
    channels = [CLASSES.index(name) for name in (TISSUES if target == 'brain' else (target,))]
    # Also where the caller has switched gradients off.
    with torch.inference_mode(False), torch.enable_grad():
        source = images.detach().clone().requires_grad_(True)
        with strict:
            logits = twin(source)
        if function is not None and not _calls(twin):
            raise InputError(
                'No torch.nn.ReLU of the network took part in its forward pass, so there is '
                'nothing to guide; ask for `gradient`, or use a network with ReLUs.'
            )
        (gradient,) = torch.autograd.grad(logits[:, channels].sum(), source)
    return gradient[:, 0], logits.detach()


def saliency_stack(
    model,
    stack: NDArray,
    target: str = 'brain',
    method: str = 'guided',
    device: str = 'cpu',
    batch_size: int = 64,
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
    batch_size : int
        Slices at once.

    Returns
    -------
    maps : array of float32, shape (N, H, W)
        Signed gradients of the summed logits by the normalised intensity.
    probabilities : array of float32, shape (N, 4, H, W)
        In [0, 1]; the same as `secondglance.models.inference.predict` returns.

    Raises
    ------
    InputError
        See `saliency`.
    """
    images = torch.from_numpy(normalise_slices(np.asarray(stack)))[:, None]
    padded, inside = pad_to_stride(images, model.stride)
    net = model.net.to(device)
    maps = np.empty(stack.shape, np.float32)
    probabilities = np.empty((len(stack), len(model.classes), *stack.shape[1:]), np.float32)
    for start in range(0, len(stack), batch_size):
        part = slice(start, start + batch_size)
        gradient, logits = saliency(net, padded[part].to(device), target, method)
        maps[part] = gradient[..., *inside].cpu().numpy()
        probabilities[part] = logits.softmax(dim=1)[..., *inside].cpu().numpy()
    return maps, probabilities


def _calls(net: nn.Module) -> int:
    return sum(module.calls for module in net.modules() if isinstance(module, _Rectifier))
