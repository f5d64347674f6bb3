"""Synthetic glioma patients in BraTS layout, for tests and demonstrations only: they replace no scan of anybody."""
