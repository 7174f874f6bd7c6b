"""Annotate: from clusters to the cell types that they most likely are."""
