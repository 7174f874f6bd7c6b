"""Surface: every name and argument that is promised, as functions without a body.

``Sdk`` is biocolabsdk 1.0.2 (and the getters that came with 1.0.8), read off the published package, which cannot be
installed beside a bioturing-connector of today. ``Design`` is what this package's own names promise. The classes of
bioflex and bioturing-connector are installed, and looked at directly.
"""

from __future__ import annotations

from typing import Any

__all__ = ["COMMANDS", "LATER_COMMANDS", "SETTINGS", "Design", "Sdk"]


class Sdk:
    """biocolabsdk: ``connector``, ``util``, ``identity``."""

    class EConnector:
        def __init__(self, bioflex_token="", public_token="", private_host="", private_token=""): ...
        def get_bbrowserx(self, private_host="", private_token="", ssl=True): ...
        def get_talk2data(self, public_token=""): ...
        def get_bioflex(self, bioflex_token=""): ...

    class EConnector108:
        def __init__(
            self,
            bioflex_token="",
            public_token="",
            private_host="",
            private_token="",
            studio_host="http://127.0.0.1:11123",
            studio_token="",
            studio_email="",
            use_token_from_api=False,
            studio_token_idx=0,
        ): ...
        def get_lensbulk(self, private_host="", private_token="", ssl=True): ...
        def get_lenssc(self, private_host="", private_token="", ssl=True): ...
        def get_settings(self): ...

    class EConnector101:
        """As its README writes it; the class itself never had the method."""

        def submit_h5ad(
            self,
            group_id,
            study_s3_keys,
            study_id=None,
            name="To be detailed",
            authors=(),
            abstract="",
            species="human",
            input_matrix_type="raw",
            min_counts=None,
            min_genes=None,
            max_counts=None,
            max_genes=None,
            mt_percentage=None,
        ): ...

    class Identity:
        def __init__(self, user, group=None): ...

    class util:  # noqa: N801 - a module there
        def empty(data): ...  # noqa: N805
        def get_settings(): ...  # type: ignore[misc]
        def get_system_user(): ...  # type: ignore[misc]
        def get_user_home_path(): ...  # type: ignore[misc]
        def get_user_study_root_path(): ...  # type: ignore[misc]
        def get_user_notebook_root_path(): ...  # type: ignore[misc]
        def get_user_app_root_path(): ...  # type: ignore[misc]


class Design:
    """The names that users of this package type, with every argument that was promised for them."""

    class bc:  # noqa: N801 - a module there
        def connect(
            bioflex_token="",  # noqa: N805
            public_token="",
            private_host="",
            private_token="",
            *,
            bioflex_host="",
            public_host="",
            ssl=True,
        ): ...
        def sandbox(path=None, *, port=0): ...  # noqa: N805
        def groups(): ...  # type: ignore[misc]
        def databases(): ...  # type: ignore[misc]
        def database(species="human", version=None): ...  # noqa: N805
        def study(study_id, *, database=None, source="bioflex", species="human", group=None): ...  # noqa: N805
        def studies(group="personal", *, species="human", source="bbrowserx"): ...  # noqa: N805
        def collection(ids): ...  # noqa: N805
        def expression_summary(genes, *, database=None): ...  # noqa: N805
        def submit(files, group="personal", *, study_type="auto"): ...  # noqa: N805
        def submit_from_s3(keys, group="personal"): ...  # noqa: N805
        def check(adata_or_path): ...  # noqa: N805

    class Study:
        id: str
        title: str
        authors: list[str]
        reference: str
        source: str
        n_obs: int
        n_vars: int
        metalist: list[Any]
        fields: list[str]

        def barcodes(self): ...
        def features(self): ...
        def query_genes(self, genes, unit="lognorm"): ...
        def matrix(self, unit="lognorm"): ...
        def export_study(self, export_format="h5ad"): ...
        def metadata(self, fields=None): ...
        def to_anndata(
            self,
            *,
            genes=None,
            fields=None,
            unit="raw",
            layers=(),
            obsm=True,
            format="csr",
            cache=True,
            dry_run=False,
        ): ...
        def to_h5ad(self, path): ...
        def lazy(self): ...

    class AnnDataAccessor:
        study: Any

        def check(self): ...
        def submit(
            self,
            group="personal",
            *,
            study_id=None,
            name=None,
            authors=(),
            abstract="",
            species="human",
            input_matrix_type="auto",
            min_counts=None,
            min_genes=None,
            max_counts=None,
            max_genes=None,
            mt_percentage=None,
            skip_dimred=False,
            batch_key=None,
            to="bbrowserx",
            chunk_size=None,
            wait=True,
            dry_run=False,
        ): ...
        def to_h5ad(self, path): ...
        def preview_filters(self): ...
        def push_metadata(self, columns=None): ...
        def pull_metadata(self, fields=None): ...
        def pull_embeddings(self): ...
        def annotate(self, groupby="leiden"): ...

    class DataFrameAccessor:
        def to_anndata(self): ...
        def submit(self, group="personal"): ...
        def check(self): ...
        def submit_metadata(self, study, group=None): ...
        def expression_summary(self): ...

    class Submission:
        study_id: str
        task_id: str
        status: str
        log: str
        study_info: dict[str, Any]

        def wait(self, timeout=None): ...
        def study(self): ...

    class Sandbox:
        url: str
        token: str
        bioflex_host: str
        private_host: str
        public_host: str
        faults: Any
        requests: Any

        def connect(self): ...
        def add_study(self, study_id, adata_or_path, *, title=None, reference=""): ...
        def reset(self): ...
        def close(self): ...


COMMANDS = ("demo", "sandbox", "check", "submit", "pull", "groups", "studies", "summary", "cache", "doctor")
"""Of the command ``biocolab``."""

LATER_COMMANDS = ("login", "logout", "replay", "resume", "search", "tasks", "wait")
"""That it has beside those."""

SETTINGS = (
    *("private_host", "private_token", "public_host", "public_token", "bioflex_host", "bioflex_token"),
    *("connect_timeout", "read_timeout", "deadline", "max_retries", "chunk_size", "progress"),
    *("cache_dir", "cache_size", "memory_budget"),
)
"""Of ``bc.settings``, each read from ``BIOCOLAB_…`` too."""
