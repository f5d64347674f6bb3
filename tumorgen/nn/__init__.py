"""Building blocks that two or more methods share, in pure torch."""
