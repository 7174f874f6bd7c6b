"""Clients of the servers: the only folder that imports requests, bioflex and bioturing_connector."""
