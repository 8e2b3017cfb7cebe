"""Weights on disk: safetensors with all that is needed to use them; never a pickle.

The header holds architecture, in-plane spacing, classes, normalisation and a checksum of the
tensors, so that a file describes itself.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from secondglance.files.json_object import read_object
from secondglance.files.nifti import check_there
from secondglance.imaging.errors import InputError
from secondglance.imaging.labels import CLASSES
from secondglance.imaging.published import PAPER_SPACING

if TYPE_CHECKING:
    from torch import Tensor

    from secondglance.imaging.mask.quality import Calibration
    from secondglance.models.unet import UNet

FORMAT = 'secondglance-unet-1'
"""Marks the header of a weights file of the two glances."""

REFINEMENT = 'secondglance-refinement-1'
"""The same of a refinement."""

SECOND_GLANCE = 'secondglance-tissues-2'
"""The same of a second glance."""

_ENDS = {
    FORMAT: (1, CLASSES),
    REFINEMENT: (14, ('brain',)),
    SECOND_GLANCE: (13, ('WM', 'GM', 'CSF', 'x', 'y', 'z', 'brain')),
}
"""Channels that a network of each kind takes, and the classes it gives."""

_LARGEST_FILE = 1 << 31
"""Bytes; ours are a hundredth of it."""

_MOST_LEVELS, _MOST_CHANNELS = 12, 4096
"""Of a network; a header that asks for more is not one of ours."""

_LONGEST_HEADER = 1 << 24
"""Bytes; a longer header is not one of ours and is not read into memory."""


@dataclass(frozen=True)
class LoadedModel:
    """A network in evaluation mode together with what its weights file says about it.

    Attributes
    ----------
    net : UNet
        Its parameters need no gradient.
    spacing : float
        In-plane spacing in mm that slices must have.
    classes : tuple of str
        Names of the output channels.
    normalisation : str
        Name of the intensity normalisation that it was trained with.
    checksum : str
        SHA-256 of the tensors.
    metadata : dict of str to str
        The whole header.
    """

    net: UNet
    spacing: float
    classes: tuple[str, ...]
    normalisation: str
    checksum: str
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def stride(self) -> int:
        """Height and width of the network's input are multiples of this; in pixels."""
        return self.net.stride

    @cached_property
    def quick(self) -> UNet:
        """The network in its quickest form; it gives the same but for the last digits."""
        from secondglance.models.unet import folded

        return folded(self.net)


def default_weights() -> Path:
    """Path of the weights that ship with the package."""
    return Path(__file__).parent / 'pretrained' / 'default.safetensors'


def default_refinement() -> Path:
    """Path of the refinement that ships with the package."""
    return Path(__file__).parent / 'pretrained' / 'refinement.safetensors'


def default_second_glance() -> Path:
    """Path of the second glance that ships with the package."""
    return Path(__file__).parent / 'pretrained' / 'second_glance.safetensors'


def trained_on(path: str | os.PathLike[str] | None = None) -> set[str]:
    """Names, and digests of the voxels, of the real scans that weights were trained on.

    They are in the card beside the weights; digests are those of
    :func:`secondglance.files.digests.digest_of_voxels`. Those of the weights that they started
    from are among them.

    Parameters
    ----------
    path : path, optional
        Of the weights; by default those that ship.

    Returns
    -------
    set of str
        Empty where there is no card.
    """
    card = Path(path or default_weights()).with_suffix('.json')
    try:
        told = read_object(card)
        scans = told.get('scans', {})
        before = told.get('trained_before_on', ())
        return {*scans.get('names', ()), *scans.get('digests', ()), *before}
    except (AttributeError, TypeError):
        return set()


def read_header(path: str | os.PathLike[str], form: str = FORMAT) -> dict[str, str]:
    """Metadata of a weights file; neither torch is imported nor a tensor read.

    Parameters
    ----------
    path : path
    form : str
        `FORMAT`, `REFINEMENT` or `SECOND_GLANCE`: what the weights must be of.

    Returns
    -------
    dict of str to str

    Raises
    ------
    InputError
        If the file is not there, is no safetensors file or was not written by `save_weights`.
    """
    path = Path(path)
    check_there(path)
    try:
        with path.open('rb') as stream:
            size = int.from_bytes(stream.read(8), 'little')
            # A pickle or any other file gives a senseless length: stop before reading it all.
            header = json.loads(stream.read(size)) if 2 <= size <= _LONGEST_HEADER else {}
            if os.fstat(stream.fileno()).st_size > _LARGEST_FILE:
                raise InputError(f'{path} is larger than any weights of secondglance are.')
    except OSError as error:
        raise InputError(
            f'Weights {path} cannot be read ({error.strerror}); '
            'name an existing .safetensors file.'
        ) from error
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(
            f'Weights {path} are not a complete safetensors file; make or download them again.'
        ) from error
    metadata = header.get('__metadata__') if isinstance(header, dict) else None
    if not isinstance(metadata, dict) or metadata.get('format') != form:
        raise InputError(
            f'{path} does not hold secondglance weights ({form}); '
            'use a .safetensors file written by `secondglance train`.'
        )
    if not all(isinstance(value, str) for value in metadata.values()):
        raise InputError(
            f'The header of weights {path} holds something other than text; make or download them '
            'again.'
        )
    return metadata


def weights_spacing(path: str | os.PathLike[str], form: str = FORMAT) -> float:
    """In-plane spacing in mm that the weights expect, read without importing torch.

    Parameters
    ----------
    path : path
    form : str
        As of `read_header`.

    Raises
    ------
    InputError
        As `read_header`; also if the header holds no positive spacing.
    """
    metadata = read_header(path, form)
    try:
        spacing = float(metadata['spacing'])
    except (KeyError, ValueError) as error:
        raise InputError(
            f'Weights {path} name no in-plane spacing in mm; write them with `secondglance train`.'
        ) from error
    if not 0 < spacing < float('inf'):
        raise InputError(
            f'Weights {path} name an in-plane spacing of {spacing} mm; it must be positive.'
        )
    return spacing


def calibration_of(metadata: Mapping[str, str]) -> Calibration:
    """Read the calibration from the header of a refinement.

    Parameters
    ----------
    metadata : mapping of str
        Header of the weights of a refinement.

    Returns
    -------
    Calibration

    Raises
    ------
    InputError
        If the header has none.
    """
    from secondglance.imaging.mask.quality import Calibration

    try:
        return Calibration.from_plain(json.loads(metadata['calibration']))
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            'The refinement has no calibration that this version reads; train it with '
            '`secondglance train --recipe refine`.'
        ) from error


def read_calibration(path: str | os.PathLike[str]) -> Calibration:
    """`calibration_of` a refinement's file; errors also as of `read_header`."""
    return calibration_of(read_header(path, REFINEMENT))


def tensor_checksum(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names, types, shapes and bytes of the tensors, in the order of their names.

    Parameters
    ----------
    tensors : mapping of str to tensor

    Returns
    -------
    str
        Hexadecimal, 64 digits.
    """
    digest = hashlib.sha256()
    for name in sorted(tensors):
        array = tensors[name].detach().cpu().contiguous().numpy()
        digest.update(f'{name}|{array.dtype.str}|{array.shape}|'.encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def save_weights(
    model: UNet,
    path: str | os.PathLike[str],
    metadata: Mapping[str, str] | None = None,
    form: str = FORMAT,
) -> str:
    """Write a network's weights; the file appears whole or not at all.

    Parameters
    ----------
    model : UNet
    path : path
    metadata : mapping of str to str, optional
        Added to the header; ``spacing`` (mm), ``classes`` (JSON list) and ``normalisation`` have
        the values of the paper's training where not given.
    form : str
        `FORMAT`, `REFINEMENT` or `SECOND_GLANCE`.

    Returns
    -------
    str
        The checksum.
    """
    from safetensors.torch import save

    from secondglance.imaging.intensity import NORMALISATION

    tensors = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    checksum = tensor_checksum(tensors)
    header = {
        'spacing': str(PAPER_SPACING),
        'classes': json.dumps(list(_ENDS[form][1])),
        'normalisation': NORMALISATION,
        **(metadata or {}),
        'format': form,
        'architecture': json.dumps(model.architecture),
        'checksum': checksum,
    }
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.getpid()}.partial')
    try:
        partial.write_bytes(save(tensors, header))
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    return checksum


def load_weights(
    path: str | os.PathLike[str], device: str = 'cpu', form: str = FORMAT
) -> LoadedModel:
    """Load a network, checked against the checksum and the architecture in its header.

    Parameters
    ----------
    path : path
    device : str
        Torch device.
    form : str
        `FORMAT`, `REFINEMENT` or `SECOND_GLANCE`: what the weights must be of.

    Returns
    -------
    LoadedModel

    Raises
    ------
    InputError
        If the file is missing, truncated, no safetensors file, of another architecture,
        normalisation or set of classes, or if its tensors do not match its checksum or are not
        finite.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load

    from secondglance.imaging.intensity import NORMALISATION

    metadata = read_header(path, form)
    spacing = weights_spacing(path, form)
    try:
        tensors = load(Path(path).read_bytes())
    except (SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise InputError(
            f'Weights {path} are not a complete safetensors file; make or download them again.'
        ) from error
    for name, tensor in tensors.items():
        if tensor.dtype not in (torch.float32, torch.int64):
            raise InputError(
                f'Weights {path} hold tensors of {tensor.dtype} ({name}); convert them to float32.'
            )
        if not torch.isfinite(tensor).all():
            raise InputError(
                f'Weights {path} hold values that are NaN or infinite ({name}): their training '
                'failed, use others.'
            )
    net = _build(metadata, path, form, sum(tensor.numel() for tensor in tensors.values()))
    checksum = tensor_checksum(tensors)
    if checksum != metadata.get('checksum'):
        raise InputError(
            f'The checksum of weights {path} is not the one in its header: the file was changed; '
            'make or download it again.'
        )
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(
            f'The tensors of weights {path} do not fit the architecture in its header; '
            'write them with `secondglance train`.'
        ) from error
    classes = _classes(metadata)
    normalisation = metadata.get('normalisation', '')
    if classes != _ENDS[form][1] or normalisation != NORMALISATION:
        raise InputError(
            f'Weights {path} were trained for classes {classes} and normalisation '
            f'{normalisation!r}; this version uses {_ENDS[form][1]} and {NORMALISATION!r}.'
        )
    net.eval().requires_grad_(False).to(device)
    return LoadedModel(net, spacing, classes, normalisation, checksum, metadata)


def _build(
    metadata: Mapping[str, str], path: str | os.PathLike[str], form: str, n_values: int
) -> UNet:
    """Build the network of a header, not before it is known to have `n_values` values."""
    import torch

    from secondglance.models.unet import UNet

    in_channels, classes = _ENDS[form]
    try:
        architecture: dict[str, Any] = json.loads(metadata['architecture'])
        name = architecture.pop('name')
        if name != 'UNet' or architecture['in_channels'] != in_channels:
            raise ValueError(name)
        if architecture['n_classes'] != len(classes):
            raise ValueError(architecture['n_classes'])
        channels = architecture['channels']
        if len(channels) > _MOST_LEVELS or not all(0 < c <= _MOST_CHANNELS for c in channels):
            raise ValueError(channels)
        with torch.device('meta'):
            planned = UNet(**architecture)
        if sum(value.numel() for value in planned.state_dict().values()) != n_values:
            raise InputError(
                f'The tensors of weights {path} do not fit the architecture in its header; '
                'write them with `secondglance train`.'
            )
        return UNet(**architecture)
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise InputError(
            f'Weights {path} are of an architecture that this version does not have '
            f'({metadata.get("architecture", "none named")[:200]}); use a UNet of '
            f'{in_channels} channels with {len(classes)} classes.'
        ) from error


def _classes(metadata: Mapping[str, str]) -> tuple[str, ...]:
    try:
        return tuple(json.loads(metadata['classes']))
    except (KeyError, TypeError, ValueError, RecursionError):
        return ()
