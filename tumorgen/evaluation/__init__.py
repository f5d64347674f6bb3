"""Generated volumes against real ones: values with their definitions and floors, tables, pictures."""
