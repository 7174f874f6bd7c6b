"""Annotate: the most likely cell types of clusters."""
