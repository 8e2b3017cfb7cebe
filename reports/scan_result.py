"""What became of a scan: for the summary of a call, and the page of a study."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class ScanResult:
    """Outcome of a scan.

    Attributes
    ----------
    scan : str
        Its name, or its subject's where it has no scan.
    status : {'done', 'cached', 'failed'}
    seconds : float
        What it took to make its results, in this call or before; NaN of a subject without a scan.
    flags : tuple of str
        What its report says to look at.
    figures : dict
        What a cohort's table shows of it.
    reason : str
        Why it failed.
    """

    scan: str
    status: str
    seconds: float = 0.0
    flags: tuple[str, ...] = ()
    figures: dict = field(default_factory=dict)
    reason: str = ''
