"""The science, on arrays: no files, no workflow engine."""
