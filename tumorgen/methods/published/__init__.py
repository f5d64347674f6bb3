"""Checkpoints of the published code: what their tensors are called, and how they become tumorgen's."""
