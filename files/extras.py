"""What to type where an optional part is not installed."""

from pathlib import Path


def install_extra(name: str) -> str:
    """Give the command that installs an extra: of the checkout in use, or of the package.

    Parameters
    ----------
    name : str
        ``label``, ``train``, … of ``setup.cfg``.

    Returns
    -------
    str

    Examples
    --------
    >>> install_extra('train').startswith('pip install ')
    True
    """
    root = Path(__file__).resolve().parents[1]
    if (root / 'setup.cfg').is_file():
        return f"pip install -e '{root}[{name}]'"
    return f"pip install 'secondglance[{name}]'"
