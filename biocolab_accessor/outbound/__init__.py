"""The road out: from an AnnData, or files on disk, to a study on a server."""
