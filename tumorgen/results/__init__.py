"""What was found: records, tables, sheets, pages."""
