"""The routes of a sandbox, by what they are about."""
