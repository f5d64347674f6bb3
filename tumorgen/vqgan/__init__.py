"""Stage 1: the class-aware 3D VQGAN (METHOD section 2)."""
