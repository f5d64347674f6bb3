"""The dashboard of Weights & Biases as code: what is shown is stated once, for the workspace and for the report."""
