"""The wire: the only rooms that know requests, bioflex and bioturing_connector."""
