"""To which servers, and as whom: connectors, credentials, the default connection."""
