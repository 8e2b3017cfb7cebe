"""Edges of a graph between fields of one name."""


def same(*names: str) -> list[tuple[str, str]]:
    """Edges between output and input fields of one name.

    Examples
    --------
    >>> same('pose', 'stack')
    [('pose', 'pose'), ('stack', 'stack')]
    """
    return [(name, name) for name in names]


def between(*names: str) -> list[tuple[str, str]]:
    """Edges from the ``outputnode`` of a workflow to the ``inputnode`` of the next.

    Examples
    --------
    >>> between('pose')
    [('outputnode.pose', 'inputnode.pose')]
    """
    return [(f'outputnode.{name}', f'inputnode.{name}') for name in names]
