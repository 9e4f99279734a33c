"""Sphinx hooks that extend or correct the output of Jupyter Book, one module per subject."""
