"""How far a command is: a bar in a terminal, plain lines elsewhere."""

import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

T = TypeVar('T')


def follow(
    items: Sequence[T], what: str, named: Callable[[T], object] = lambda item: ''
) -> Iterator[T]:
    """Go through items, telling on standard error how many are done and the time left.

    Parameters
    ----------
    items : sequence
    what : str
        What the items are, such as ``scan``.
    named : callable
        From an item to its name.

    Yields
    ------
    item
    """
    if not sys.stderr.isatty():
        from secondglance.models.pace import paced

        yield from paced(items, what, named=named, say=lambda line: print(line, file=sys.stderr))
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
    from rich.progress import TimeRemainingColumn as Remaining

    bar = Progress(
        *(TextColumn('  {task.description}', markup=False), BarColumn(bar_width=24)),
        *(MofNCompleteColumn(), Remaining()),
        console=Console(stderr=True),
        # What is printed meanwhile stays where it belongs, be it a file
        redirect_stdout=sys.stdout.isatty(),
    )
    with bar:
        task = bar.add_task(what, total=len(items))
        for item in items:
            bar.update(task, description=f'{what} {named(item)}'.strip())
            yield item
            bar.advance(task)
