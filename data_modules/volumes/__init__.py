"""Folders of NIfTI volumes, real or generated."""
