"""Class-conditional generation of 3D brain tumour regions."""

__version__ = "0.1.0"
