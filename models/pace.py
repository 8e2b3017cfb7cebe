"""How far something long is, and how long it still takes, in plain lines."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

EVERY_SECONDS = 5.0
"""Between two lines."""

T = TypeVar('T')


def duration(seconds: float) -> str:
    """Say a time in the two units that matter.

    Examples
    --------
    >>> [duration(s) for s in (0.2, 59, 61, 150, 3600, 9000)]
    ['1 s', '59 s', '1 min', '2 min', '60 min', '2 h 30 min']
    """
    if seconds < 60:
        return f'{max(1, round(seconds))} s'
    minutes = round(seconds / 60)
    return f'{minutes} min' if minutes < 90 else f'{minutes // 60} h {minutes % 60:02d} min'


class Pace:
    """Tells how long a work still takes, and when it is time to say so again.

    Parameters
    ----------
    total : int
        Steps of the work.
    done : int
        Steps that were made before.
    """

    def __init__(self, total: int, done: int = 0) -> None:
        self.total, self.before = total, done
        self.begun = time.monotonic()
        self.said = float('-inf')

    def left(self, done: int) -> str:
        """Time left after `done` steps, as :func:`duration` says it; at least one was made."""
        each = (time.monotonic() - self.begun) / (done - self.before)
        return duration(each * (self.total - done))

    def due(self) -> bool:
        """Whether a line is due: at first, and `EVERY_SECONDS` after the last that was due."""
        now = time.monotonic()
        if now - self.said < EVERY_SECONDS:
            return False
        self.said = now
        return True


def _printed(line: str) -> None:
    print(line, flush=True)


def paced(
    items: Sequence[T],
    what: str,
    *,
    named: Callable[[T], object] = lambda item: '',
    say: Callable[[str], object] = _printed,
) -> Iterator[T]:
    """Go through items, saying now and then which is the turn and how long the rest takes.

    Parameters
    ----------
    items : sequence
    what : str
        Beginning of each line.
    named : callable
        From an item to its name in the line.
    say : callable
        Takes each line; by default it is printed.

    Yields
    ------
    item

    Examples
    --------
    >>> list(paced('ab', 'letter', named=str.upper))
    letter 1 of 2: A
    ['a', 'b']
    """
    pace = Pace(len(items))
    for done, item in enumerate(items):
        if pace.due():
            name = f': {named(item)}' if f'{named(item)}' else ''
            left = f', {pace.left(done)} left' if done else ''
            say(f'{what} {done + 1} of {len(items)}{name}{left}')
        yield item
