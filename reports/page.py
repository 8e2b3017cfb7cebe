"""What fills the templates of pages."""

import functools
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined


@functools.cache
def page_templates() -> Environment:
    """Make what fills the templates: every text is escaped, a missing one is an error."""
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined
    )
    made.filters['figure'] = _number
    return made


def _number(value: object) -> str:
    """Write a table's value: numbers short, nothing for what is not defined.

    Examples
    --------
    >>> _number(0.98765), _number(float('nan')), _number('WM'), _number(1712.3)
    ('0.988', '–', 'WM', '1712')
    """
    if isinstance(value, float):
        if value != value:
            return '–'
        return f'{value:.0f}' if abs(value) >= 100 else f'{value:.3f}'
    return str(value)
