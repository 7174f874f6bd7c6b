"""The store: the data of a sandbox on disk and in SQLite."""
