"""Faults of the program: the whole traceback in a file, and a paragraph that names it."""

import contextlib
import tempfile
import time
from pathlib import Path
from traceback import format_exception


def told_of_crash(error: BaseException, folder: Path) -> str:
    """Write the traceback of an unknown error to a file, and say what happened.

    Parameters
    ----------
    error : BaseException
    folder : Path
        Where the file goes; the folder for temporary files, if it cannot be written.

    Returns
    -------
    str
        A paragraph with the error and the path of the file.
    """
    what = ' '.join(f'{type(error).__name__}: {error}'.split())[:300]
    said = f'The program stopped with {what!r}, by a fault of its own. '
    text = ''.join(format_exception(error))
    for place in (folder, Path(tempfile.gettempdir())):
        with contextlib.suppress(OSError):
            place.mkdir(parents=True, exist_ok=True)
            started = time.strftime('crash-%Y%m%d-%H%M%S-')
            with tempfile.NamedTemporaryFile(
                'w', prefix=started, suffix='.txt', dir=place, delete=False, encoding='utf-8'
            ) as stream:
                stream.write(text)
            return f'{said}The full error is in {stream.name}: please open an issue with it.'
    return f'{said}The full error could not be written.'
