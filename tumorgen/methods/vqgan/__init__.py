"""Stage 1: the class-aware 3D VQGAN, which turns a tumour into tokens and back."""
