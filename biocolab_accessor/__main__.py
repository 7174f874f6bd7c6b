"""``python -m biocolab_accessor``: the same as the command ``biocolab``."""

from biocolab_accessor.cli import app

app()
