"""From a study of a server to an AnnData: find it, fetch it, join it with others."""
