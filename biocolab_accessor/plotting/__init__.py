"""Plotting: pictures as matplotlib figures that nobody else holds; nothing is shown, no global state changes."""
