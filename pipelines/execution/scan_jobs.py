"""A scan to segment, and what is known of it before anything is run.

Neither torch nor the workflow engine is imported: what is finished is answered at once.
"""

from dataclasses import dataclass
from pathlib import Path

from secondglance.files.bids import Scan
from secondglance.pipelines.execution.records import find_record
from secondglance.pipelines.settings import Execution, Method
from secondglance.reports.scan_result import ScanResult


@dataclass(frozen=True)
class ScanJob:
    """A scan to segment, and how.

    Attributes
    ----------
    scan : Scan
    method : Method
    execution : Execution
    output_dir, work_dir : Path
        Roots of the derivatives, and of the caches of this version.
    recipe : str
        Digest of the method, from :func:`secondglance.pipelines.execution.records.recipe`.
    reference : Path, optional
        Reference segmentation or brain mask of this scan.
    shared_dir : Path, optional
        Where subjects share what they have in common, and failures are recorded; by default
        `work_dir`.
    per_attempt : bool
        Whether each attempt of a batch system has a cache of its own, removed at its end: a node
        that is cut off goes on writing while its job runs again elsewhere.
    """

    scan: Scan
    method: Method
    execution: Execution
    output_dir: Path
    work_dir: Path
    recipe: str
    reference: Path | None = None
    shared_dir: Path | None = None
    per_attempt: bool = False

    @property
    def common_dir(self) -> Path:
        """Folder that all scans of a call share."""
        return self.shared_dir or self.work_dir


def known(job: ScanJob) -> ScanResult | None:
    """Read the recorded outcome of a scan; nothing is run and no unchanged input is read.

    Returns
    -------
    ScanResult or None
        ``cached`` or ``failed``; None where nothing is known, or something changed since.
    """
    about = (job.scan, job.reference, job.recipe)
    record = find_record(job.output_dir, *about)
    if record is None:
        record = find_record(job.common_dir, *about)
        if record is None:
            return None
        return ScanResult(job.scan.name, 'failed', reason=record.failure)
    return ScanResult(job.scan.name, 'cached', record.seconds, record.flags, record.figures)
