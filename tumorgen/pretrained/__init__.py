"""Weights and the report's viewer from wheels, pinned by checksum."""
