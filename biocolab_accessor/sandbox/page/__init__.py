"""The page that people look at in a browser."""
