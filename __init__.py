"""Segmentation of rodent brain tissue in MRI by looking twice."""

from typing import Any

__version__ = '0.1.0'

__all__ = ('Segmentation', 'segment')


def __getattr__(name: str) -> Any:
    """Import what needs the network's library only when it is asked for."""
    if name in __all__:
        from secondglance.models import segment_image

        return getattr(segment_image, name)
    raise AttributeError(f'module {__name__!r} has no attribute {name!r}')


def __dir__() -> list[str]:
    return [*globals(), *__all__]
