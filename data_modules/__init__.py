"""From scans on disk to batches: cohorts, ROI extraction, caches, folds, phantoms. Never imports ``tumorgen``."""
