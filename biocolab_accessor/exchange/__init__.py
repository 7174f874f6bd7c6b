"""Exchange: metadata and embeddings to and fro between an object and its study, joined by barcode."""
