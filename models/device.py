"""The device that networks run on."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from secondglance.imaging.errors import InputError


def resolve_device(name: str) -> str:
    """Resolve ``auto``, and check that torch has the device.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    Returns
    -------
    str
        For ``auto``, ``cuda`` where torch can use it, else ``cpu``; others stay.

    Raises
    ------
    InputError
        If there is no such device.
    """
    if not re.fullmatch(r'auto|cpu|cuda(:\d+)?', name):
        raise InputError(f'--device {name} is not known: give auto, cpu, cuda or cuda:N.')
    if name == 'cpu' or (name == 'auto' and built_for_processors()):
        return 'cpu'
    import torch

    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    if name.startswith('cuda'):
        if not torch.cuda.is_available():
            raise InputError(f'--device {name}: torch finds no GPU here; give --device cpu.')
        if ':' in name and int(name.partition(':')[2]) >= torch.cuda.device_count():
            raise InputError(
                f'--device {name}: torch finds {torch.cuda.device_count()} GPUs, numbered from 0.'
            )
    return name


def built_for_processors() -> bool:
    """Tell whether torch knows no graphics cards, without the second that its import takes."""
    found = importlib.util.find_spec('torch')
    if found is None or found.origin is None:
        return False
    try:
        about = Path(found.origin).with_name('version.py').read_text(encoding='utf-8')
    except OSError:
        return False
    kinds = dict(re.findall(r'^(cuda|hip)\b.*= (.+)$', about, re.MULTILINE))
    return kinds.get('cuda') == 'None' and kinds.get('hip', 'None') == 'None'
