"""Clients of the servers: HTTP, and the official classes over it, with every answer checked."""
