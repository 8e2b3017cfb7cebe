"""Reading JSON that may have been written, or edited, by anyone."""

import json
from pathlib import Path
from typing import Any


def read_object(path: str | Path) -> dict[str, Any]:
    """Content of a JSON file; empty where it cannot be read, or holds no object.

    A mark at its beginning, as some editors put one, is skipped. What JSON does not have, NaN and
    infinity, becomes None.
    """
    try:
        text = Path(path).read_text(encoding='utf-8-sig')
        content = json.loads(text, parse_constant=lambda _: None)
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
