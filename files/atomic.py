"""Files that appear whole or not at all."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Write a text file that appears whole or not at all, whoever else writes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f'.{path.name}.{os.uname().nodename}.{os.getpid()}.partial')
    try:
        partial.write_text(text, encoding='utf-8')
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
