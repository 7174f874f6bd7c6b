"""Settings as the environment has them: loaded by a Dask worker that was forked, before its first task."""

import biocolab_accessor as bc

bc.settings.reset()
