"""Generated volumes against real ones: figures with their definitions and floors, tables, pictures."""
