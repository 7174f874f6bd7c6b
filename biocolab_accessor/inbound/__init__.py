"""The road in: from a study on a server to an AnnData."""
