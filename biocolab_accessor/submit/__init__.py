"""From an AnnData or files to a study: plan, encode, upload, follow."""
