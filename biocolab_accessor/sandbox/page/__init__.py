"""The page that users open in a browser."""
