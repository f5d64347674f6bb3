"""The report: one HTML file out of result folders."""
