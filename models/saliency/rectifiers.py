"""Replacement of a network's ReLUs by others with another gradient, for one call.

The network itself is never changed: the ReLUs are replaced in a copy of its tree of modules, which
shares the tensors. A network with a ReLU that cannot be replaced is refused.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode

from secondglance.imaging.errors import InputError

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


relu = torch.ops.aten.relu.default
"""The operator itself, for the rules of methods: `RefuseFunctionalReLU` does not intercept it."""

relu_backward = torch.ops.aten.threshold_backward.default
"""From arriving gradient, rectified input and 0 to the gradient of a ReLU; likewise."""


class Rectifier(nn.Module):
    """Replaces one `torch.nn.ReLU` during one call."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function = function
        self.calls = 0

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.function.apply(features)


class RefuseFunctionalReLU(TorchFunctionMode):
    """Refuses a functional ReLU, which cannot be replaced."""

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


def check_rectifiers(net: nn.Module) -> None:
    """Refuse a network in which a ReLU cannot be guided, or that has none.

    Parameters
    ----------
    net : torch.nn.Module

    Raises
    ------
    InputError
        If it has no `torch.nn.ReLU`, one in place, or another rectifier.
    """
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


def twin_of(module: nn.Module, function: type[torch.autograd.Function] | None) -> nn.Module:
    """Copy the tree of modules, not their tensors, with each ReLU replaced by a rectifier.

    A module used in two places of the tree stays one module in two places.

    Parameters
    ----------
    module : torch.nn.Module
        It is left as it is.
    function : type of torch.autograd.Function, optional
        Rule of the gradient; without it ReLUs stay.

    Returns
    -------
    torch.nn.Module
        In evaluation mode, with shared tensors that need no gradient.
    """
    copies: dict[int, nn.Module] = {}

    def duplicate(original: nn.Module) -> nn.Module:
        if id(original) not in copies:
            if function is not None and isinstance(original, nn.ReLU):
                copies[id(original)] = Rectifier(function)
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


def calls(twin: nn.Module) -> int:
    """Count how often rectifiers took part in a forward pass.

    Parameters
    ----------
    twin : torch.nn.Module
        As of `twin_of`.

    Returns
    -------
    int
    """
    return sum(module.calls for module in twin.modules() if isinstance(module, Rectifier))
