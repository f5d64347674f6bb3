"""From a folder of scans to cases: files, classes, patients and splits."""
