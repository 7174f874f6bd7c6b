"""Routes of a sandbox: one module per topic; the table of all of them is in sandbox/app.py."""
