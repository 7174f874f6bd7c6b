"""Studies: find a study on a server, fetch it as an AnnData, and join it with other studies."""
