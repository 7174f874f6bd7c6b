"""Routes of a sandbox: one module per topic, and the table of all of them."""
