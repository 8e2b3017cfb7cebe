"""What interfaces that run a network share."""

from nipype.interfaces.base import (
    BaseInterfaceInputSpec,
    File,
    traits,
)

from secondglance.models.choices import SALIENCY_METHODS, TARGETS
from secondglance.models.weights import FORMAT


def resolve_device(name: str) -> str:
    """Resolve ``auto`` to ``cuda`` where torch can use it."""
    if name != 'auto':
        return name
    import torch

    return 'cuda' if torch.cuda.is_available() else 'cpu'


def load_model(inputs, form=FORMAT):
    """Load the node's weights on its device, with the node's number of threads."""
    import torch

    from secondglance.models.weights import load_weights

    torch.set_num_threads(inputs.num_threads)
    return load_weights(inputs.weights, resolve_device(inputs.device), form)


def attribute(inputs, model, stack, region=None):
    """Take a glance at a stack as the node's inputs say."""
    from secondglance.models.saliency.attribution import Smoothing, saliency_stack

    return saliency_stack(
        model,
        stack,
        target=inputs.target,
        method=inputs.method,
        device=resolve_device(inputs.device),
        region=region,
        smoothing=Smoothing(inputs.smooth),
    )


class NetworkSpec(BaseInterfaceInputSpec):
    weights = File(exists=True, mandatory=True, desc='weights of the network, safetensors')
    device = traits.Str('auto', usedefault=True, nohash=True, desc='auto, cpu, cuda or cuda:N')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='counts as one GPU process')
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='threads of the CPU'
    )


class SaliencySpec(NetworkSpec):
    method = traits.Enum(
        *SALIENCY_METHODS, usedefault=True, desc='how the target is followed back to the pixels'
    )
    target = traits.Enum(*TARGETS, usedefault=True, desc='classes whose logits are summed')
    smooth = traits.Range(
        low=0, value=0, usedefault=True, desc='noisy copies whose maps are averaged; 0: none'
    )


class EnhanceSpec(BaseInterfaceInputSpec):
    peak = traits.Float(2.0, usedefault=True, desc='standard score that is kept whole')
    width = traits.Range(
        low=0.0, exclude_low=True, value=0.5, usedefault=True, desc='width of what is kept'
    )
