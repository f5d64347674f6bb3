"""Quantisers: features on the token grid -> discrete codes and back, one file each."""
