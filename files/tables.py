"""Reading and writing tables (.tsv)."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np


def write_tsv(rows: Sequence[Mapping[str, Any]], path: str | Path, *, digits: int = 6) -> str:
    """Write rows as a table.

    Parameters
    ----------
    rows, digits
        As of :func:`table_text`.
    path : path

    Returns
    -------
    str
        The path.
    """
    Path(path).write_text(table_text(rows, digits), encoding='utf-8')
    return str(path)


def table_text(rows: Sequence[Mapping[str, Any]], digits: int = 6) -> str:
    """Text of a table.

    Parameters
    ----------
    rows : sequence of mappings
        Their keys are the columns, in the order in which they first appear.
    digits : int
        Significant digits of numbers that are not whole; NaN and None become ``n/a``.

    Returns
    -------
    str

    Examples
    --------
    >>> table_text([{'label': 'GM', 'dsc': 2 / 3}, {'label': 'WM', 'dsc': float('nan')}])
    'label\\tdsc\\nGM\\t0.666667\\nWM\\tn/a\\n'
    """
    columns = list(dict.fromkeys(name for row in rows for name in row))
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter='\t', lineterminator='\n')
    writer.writerow(columns)
    writer.writerows([[_text(row.get(c), digits) for c in columns] for row in rows])
    return stream.getvalue()


def read_tsv(path: str | Path) -> list[dict[str, Any]]:
    """Read a table as rows; numbers and truth values are converted, ``n/a`` becomes NaN."""
    with open(path, newline='', encoding='utf-8') as stream:
        return [
            {name: _value(text) for name, text in row.items()}
            for row in csv.DictReader(stream, delimiter='\t')
        ]


def columns_of(rows: Sequence[Mapping[str, Any]]) -> dict[str, np.ndarray]:
    """Turn rows into columns."""
    return {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}


def _text(value: Any, digits: int) -> str:
    if value is None:
        return 'n/a'
    if isinstance(value, bool | np.bool_):
        return str(bool(value))
    if isinstance(value, float | np.floating):
        return 'n/a' if math.isnan(value) else f'{value:.{digits}g}'
    return str(value)


def _value(text: str) -> Any:
    """Value of a cell.

    Examples
    --------
    >>> [_value(text) for text in ('3', '0.5', 'True', 'n/a', 'GM')]
    [3, 0.5, True, nan, 'GM']
    """
    if text in ('True', 'False'):
        return text == 'True'
    if text == 'n/a':
        return math.nan
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
