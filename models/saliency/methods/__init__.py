"""Saliency methods, one file each.

A file assigns two plain strings, ``NAME`` and ``CITATION`` (as the report prints it). The map is
the gradient of the target unless the file defines ``attribute(follow, images, steps)``, which
returns the map ``(B, H, W)`` and the logits ``(B, 4, H, W)``, or None instead of the logits if
the images themselves did not pass through the network. ``RECTIFIER``, if defined, is the gradient
rule that replaces each ReLU. The strings are read without importing the file, so that listing the
methods does not load torch.
"""

from __future__ import annotations

import ast
import functools
import importlib
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType


@dataclass(frozen=True)
class SaliencyMethod:
    """A saliency method as command line and report name it.

    Attributes
    ----------
    name : str
        Value of ``--saliency``.
    citation : str
        Name and source, for the methods paragraph of the report.
    module : str
        Name of the file without its ending.
    """

    name: str
    citation: str
    module: str

    @property
    def words(self) -> str:
        """The citation without its source, for ``--help``."""
        return self.citation.partition(' (')[0]

    def load(self) -> ModuleType:
        """Import the file of the method."""
        return importlib.import_module(f'{__name__}.{self.module}')


DEFAULT = 'guided'
"""The method of the paper, listed first."""


def list_methods(folder: Path = Path(__file__).parent) -> dict[str, SaliencyMethod]:
    """Read name and citation of every method in a folder, without importing any.

    Parameters
    ----------
    folder : Path
        Folder with one Python file a method.

    Returns
    -------
    dict
        Name → method; the default first, then by name.
    """
    found = {}
    for path in folder.glob('[!_]*.py'):
        texts = _strings(path)
        found[texts['NAME']] = SaliencyMethod(texts['NAME'], texts['CITATION'], path.stem)
    return dict(sorted(found.items(), key=lambda item: (item[0] != DEFAULT, item[0])))


def _strings(path: Path) -> dict[str, str]:
    """Read the string constants that a file assigns."""
    texts = {}
    for node in ast.parse(path.read_text(encoding='utf-8')).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            try:
                value = ast.literal_eval(node.value)
            except ValueError:
                continue
            if isinstance(value, str):
                texts[node.targets[0].id] = value
    return texts


@functools.cache
def saliency_methods() -> dict[str, SaliencyMethod]:
    """Return the methods that ship: name → method."""
    return list_methods()
