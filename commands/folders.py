"""Where results and caches may lie: raw data, and what others made of them, stay as they are."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from secondglance.imaging.errors import InputError


def check_output(output_dir: Path, bids_dir: Path | None, reference: Path | None) -> None:
    """Refuse an output folder that holds what this product did not write.

    Parameters
    ----------
    output_dir, bids_dir, reference : Path
        Resolved, links too.

    Raises
    ------
    InputError
    """
    from secondglance.files.bids import generated_by

    if reference is not None and reference.is_dir() and output_dir.is_relative_to(reference):
        raise InputError(
            f'--output-dir {output_dir} is the reference itself, which must not be overwritten: '
            'choose another.'
        )
    for folder, described, raw in _around(output_dir, bids_dir):
        if raw:
            if not output_dir.is_relative_to(folder / 'derivatives'):
                raise InputError(
                    f'--output-dir {output_dir} lies in the raw data {folder}: choose another, '
                    f'such as {folder / "derivatives" / "secondglance"}.'
                )
            if output_dir == folder / 'derivatives':
                raise InputError(
                    f'--output-dir {output_dir} holds other derivatives: name a folder in it.'
                )
            return
        if described and 'secondglance' not in generated_by(folder):
            raise InputError(
                f'--output-dir {output_dir} lies in {folder}, which secondglance did not '
                'write: choose another.'
            )
        # Labels drawn by hand often lie without a description; what we write has logs
        whole = folder == output_dir or folder.parent.name == 'derivatives'
        if whole and any(folder.glob('sub-*/**/*.nii*')) and not any(folder.glob('logs/*.json')):
            raise InputError(
                f'--output-dir {output_dir} lies in {folder}, which holds images that '
                'secondglance run did not write: choose another.'
            )
        if described:
            return


def place_work(
    asked: Path | None, output_dir: Path, bids_dir: Path | None, reference: Path | None
) -> Path:
    """Choose the work folder, which may not lie among raw data or references.

    Parameters
    ----------
    asked : Path or None
        As the call names it; by default ``work`` in the current folder, or beside the output
        folder where the current folder is one of raw data.
    output_dir, bids_dir, reference : Path
        Resolved, links too.

    Returns
    -------
    Path
        Resolved; it need not be there.

    Raises
    ------
    InputError
        If the folder that was asked for lies in raw data, outside their ``derivatives``, or in the
        reference.
    """
    work_dir = (Path('work') if asked is None else asked).resolve()
    among = ''
    if reference is not None and reference.is_dir() and work_dir.is_relative_to(reference):
        among = f'the reference {reference}'
    for folder, _, raw in _around(work_dir, bids_dir):
        derivatives = folder / 'derivatives'
        if raw and (derivatives == work_dir or not work_dir.is_relative_to(derivatives)):
            among = f'the raw data {folder}'
    if not among:
        return work_dir
    beside = output_dir.with_name(f'{output_dir.name}-work')
    if asked is not None:
        raise InputError(
            f'--work-dir {work_dir} lies in {among}: choose another, such as {beside}.'
        )
    return beside


def data_set_of(folder: Path) -> Path | None:
    """Find the raw data set that a folder is, or lies in."""
    return next(
        (
            root
            for root, described, raw in _around(folder, None)
            if described and raw and any(root.glob('sub-*'))
        ),
        None,
    )


@contextlib.contextmanager
def writable(folder: Path, option: str) -> Iterator[None]:
    """Make a folder for a call; what is still empty when the call ends, and was made, is removed.

    Parameters
    ----------
    folder : path
    option : str
        Which option to change where that fails.

    Raises
    ------
    InputError
    """
    made = [one for one in (folder, *folder.parents) if not one.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        allowed = os.access(folder, os.W_OK | os.X_OK)
    except OSError as error:
        raise InputError(
            f'{folder} cannot be made ({error.strerror}): choose another {option}.'
        ) from error
    if not allowed:
        raise InputError(f'{folder} cannot be written: choose another {option}.')
    try:
        yield
    finally:
        for one in made:
            with contextlib.suppress(OSError):
                one.rmdir()


def _around(folder: Path, bids_dir: Path | None) -> Iterator[tuple[Path, bool, bool]]:
    """Folders around a folder, itself first: whether each is described, and is a raw data set."""
    from secondglance.files.bids import is_derivative

    for root in (folder, *folder.parents):
        described = (root / 'dataset_description.json').is_file()
        yield root, described, root == bids_dir or (described and not is_derivative(root))
