"""Pure functions with thin torchmetrics Metrics, one file per metric."""
