"""The whole method on phantoms, from an empty folder, on a CPU; and the check of what came out."""
