"""What is said on the way through something long."""

import pytest

from secondglance.models import pace


@pytest.fixture
def clock(monkeypatch):
    """Return a clock that goes only when it is told to."""
    now = [100.0]
    monkeypatch.setattr(pace.time, 'monotonic', lambda: now[0])
    return now


def test_lines_come_at_first_and_then_every_five_seconds(clock):
    lines: list[str] = []
    for _ in pace.paced(range(10), 'scan', named=lambda n: f'rat {n}', say=lines.append):
        clock[0] += 2.0
    # After 3 scans of 2 s it is time again, and 7 are left
    assert lines == [
        'scan 1 of 10: rat 0',
        'scan 4 of 10: rat 3, 14 s left',
        'scan 7 of 10: rat 6, 8 s left',
        'scan 10 of 10: rat 9, 2 s left',
    ]


def test_time_left_counts_from_where_the_work_went_on(clock):
    found = pace.Pace(500, done=400)
    clock[0] += 30.0
    assert found.left(410) == '4 min'  # 3 s each, 90 left


def test_every_item_comes_once_and_in_order(clock):
    assert list(pace.paced('abc', 'letter', say=lambda line: None)) == ['a', 'b', 'c']
    assert list(pace.paced([], 'nothing', say=pytest.fail)) == []
