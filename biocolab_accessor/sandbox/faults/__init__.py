"""Faults that a sandbox simulates, limits of its connections, and the ledger of its requests."""
