"""What is logged, pictured and written during a run."""
