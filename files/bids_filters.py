"""Filters of images, as BIDS Apps read them from ``--bids-filter-file``."""

import json
from collections.abc import Mapping
from pathlib import Path

from secondglance.imaging.errors import InputError

ENTITIES = {
    'subject': 'sub',
    'session': 'ses',
    'task': 'task',
    'acquisition': 'acq',
    'ceagent': 'ce',
    'reconstruction': 'rec',
    'direction': 'dir',
    'run': 'run',
    'echo': 'echo',
    'part': 'part',
    'chunk': 'chunk',
}
"""Names of entities in a filter, and in the name of a file."""

_OTHERS = ('datatype', 'suffix', 'extension')
_NUMBERS = ('run', 'echo', 'chunk')
_ANY, _NONE = ('*', 'Query.ANY', 'Query.REQUIRED'), (None, 'Query.NONE')


def read_filters(path: Path, suffix: str | None) -> dict[str, list]:
    """Read what holds for images of a suffix.

    Parameters
    ----------
    path : Path
        JSON of queries: ``{"bold": {"session": "pre", "run": [1, 2], "acquisition": null}}``.
    suffix : str or None
        Which query counts: that of this name, in any case, or with this ``suffix``. None: dwi,
        or the only one that there is.

    Returns
    -------
    dict of list
        ``suffix``, and short names of entities → values allowed; None for an absent entity,
        ``'*'`` for any value.

    Raises
    ------
    InputError
        If the file cannot be read, has no such query, or names an entity that BIDS has not.
    """
    try:
        queries = json.loads(path.read_text(encoding='utf-8-sig'))
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, 'strerror', None) or ' '.join(str(error).split())[:200]
        raise InputError(f'--bids-filter-file {path} cannot be read ({reason}).') from error
    if not isinstance(queries, dict) or not all(isinstance(q, dict) for q in queries.values()):
        raise InputError(
            f'--bids-filter-file {path} must hold queries, such as {{"dwi": {{"session": "01"}}}}.'
        )
    wanted = suffix or 'dwi'
    fitting = [
        name
        for name, query in queries.items()
        if name.lower() == wanted.lower() or wanted in _values(query.get('suffix'))
    ]
    if not fitting and suffix is None and len(queries) == 1:
        fitting = list(queries)
    if len(fitting) != 1:
        raise InputError(
            f'--bids-filter-file {path} must have one query of {wanted}, and has '
            f'{", ".join(queries) or "none"}: name it {wanted}, or choose with --suffix.'
        )
    return _filters(path, queries[fitting[0]], suffix)


def _filters(path: Path, query: Mapping, suffix: str | None) -> dict[str, list]:
    found: dict[str, list] = {}
    for name, value in query.items():
        if name in _OTHERS:
            continue
        key = ENTITIES.get(name, name)
        if key not in ENTITIES.values():
            raise InputError(
                f'--bids-filter-file {path} has {name!r}, which is no entity: there are '
                f'{", ".join((*ENTITIES, *_OTHERS))}.'
            )
        values = _values(value)
        if not all(
            v is None or (isinstance(v, str | int) and not isinstance(v, bool)) for v in values
        ):
            raise InputError(
                f'--bids-filter-file {path}: {name} is {value!r}; give a label, a list of labels '
                'or null.'
            )
        found[key] = [None if v in _NONE else '*' if v in _ANY else str(v) for v in values]
    suffixes = [str(value) for value in _values(query.get('suffix')) if value is not None]
    if suffix is None and len(suffixes) == 1:
        found['suffix'] = suffixes
    return found


def _values(value: object) -> list:
    return list(value) if isinstance(value, list) else [value]


def fits(entities: Mapping[str, str], filters: Mapping[str, list]) -> bool:
    """Tell whether an image has what is asked for.

    Parameters
    ----------
    entities : mapping
        Of the image, by short names.
    filters : mapping of list
        From :func:`read_filters`.

    Examples
    --------
    >>> fits({'sub': '1', 'run': '02'}, {'run': ['2'], 'acq': [None]})
    True
    >>> fits({'sub': '1'}, {'run': ['*']})
    False
    """
    return all(
        any(_is(entities.get(key), value, key) for value in values)
        for key, values in filters.items()
        if key != 'suffix'
    )


def _is(has: str | None, wanted: str | None, key: str) -> bool:
    if wanted is None or has is None:
        return wanted is has
    if key in _NUMBERS and has.isdecimal() and wanted.isdecimal():
        return int(has) == int(wanted)
    return wanted == '*' or has == wanted.removeprefix(f'{key}-')
