"""The routes of a sandbox, by topic."""
