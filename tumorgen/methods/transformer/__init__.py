"""Stage 2: the class-conditional, temporal-agnostic masked transformer."""
