"""Generative methods: a folder each, on one base."""
