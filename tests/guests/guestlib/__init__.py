"""Somebody else's package: every module is a guest that uses tumorgen and is not part of it."""
