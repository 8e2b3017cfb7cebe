"""Running scans: job, record, cohort, Pydra tasks, Nipype configuration."""
