"""Columns and embeddings between an object and its study, joined by barcode."""
