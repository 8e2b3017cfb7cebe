"""What interfaces that run a network share."""

import functools
import os

from nipype.interfaces.base import BaseInterfaceInputSpec, File, traits

from secondglance.models.choices import SALIENCY_METHODS, TARGETS, SaliencyOptions
from secondglance.models.weights import FORMAT, LoadedModel


class NetworkSpec(BaseInterfaceInputSpec):
    """Inputs of an interface that runs a network."""

    weights = File(exists=True, mandatory=True, desc='weights of the network, safetensors')
    device = traits.Str('auto', usedefault=True, nohash=True, desc='auto, cpu, cuda or cuda:N')
    use_gpu = traits.Bool(False, usedefault=True, nohash=True, desc='counts as one GPU process')
    num_threads = traits.Range(
        low=1, value=1, usedefault=True, nohash=True, desc='threads of the CPU'
    )


class SaliencySpec(NetworkSpec):
    """Inputs of an interface that computes saliency."""

    method = traits.Enum(*SALIENCY_METHODS, usedefault=True, desc='saliency method')
    target = traits.Enum(*TARGETS, usedefault=True, desc='class to explain')
    smooth = traits.Range(low=0, value=0, usedefault=True, desc='noisy copies to average; 0: none')


class EnhanceSpec(BaseInterfaceInputSpec):
    """Inputs of an interface that enhances saliency."""

    peak = traits.Float(2.0, usedefault=True, desc='standard score that is kept whole')
    width = traits.Range(
        low=0.0, exclude_low=True, value=0.5, usedefault=True, desc='width of what is kept'
    )


def load_model(inputs: NetworkSpec, form: str = FORMAT) -> LoadedModel:
    """Load the node's weights on its device, with the node's number of threads.

    A process loads and checks a file once, as long as its size and time stay.
    """
    import torch

    torch.set_num_threads(inputs.num_threads)
    about = os.stat(inputs.weights)
    stamp = (about.st_dev, about.st_ino, about.st_size, about.st_mtime_ns)
    return _load(inputs.weights, device_of(inputs), form, stamp)


@functools.lru_cache(maxsize=8)
def _load(path: str, device: str, form: str, stamp: tuple[int, ...]) -> LoadedModel:
    from secondglance.models.weights import load_weights

    return load_weights(path, device, form)


def device_of(inputs: NetworkSpec) -> str:
    """Device of a node."""
    from secondglance.models.device import resolve_device

    return resolve_device(inputs.device)


def options_of(inputs: SaliencySpec | EnhanceSpec) -> SaliencyOptions:
    """Saliency options of a node, those that it has."""
    given = inputs.get()
    names = {'method': 'method', 'target': 'target', 'copies': 'smooth', 'peak': 'peak'}
    names['width'] = 'width'
    return SaliencyOptions(**{key: given[name] for key, name in names.items() if name in given})
