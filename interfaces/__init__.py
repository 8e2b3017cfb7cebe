"""Nipype interfaces: read files, call one function, write files."""
