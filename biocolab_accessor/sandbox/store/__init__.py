"""What a sandbox keeps, on disk and in SQLite."""
