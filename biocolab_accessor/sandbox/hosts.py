"""Hosts: what to give as hosts and tokens, to talk to a sandbox."""

from __future__ import annotations

from biocolab_accessor.connector import EConnector

__all__ = ["Hosts"]


class Hosts:
    """Something that listens at ``url`` and takes ``token``."""

    url: str
    token: str

    @property
    def bioflex_host(self) -> str:
        """Host of BioFlex's protocol."""
        return f"{self.url}/"

    @property
    def private_host(self) -> str:
        """Host of the protocol of a BBrowserX private server."""
        return f"{self.url}/t2d_index_tool/"

    @property
    def public_host(self) -> str:
        """Host of Talk2Data's protocol, which is the same."""
        return self.private_host

    def connect(self) -> EConnector:
        """A connector to this sandbox, with all its hosts and tokens.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     server.connect().get_bbrowserx().host == server.private_host
        True
        """
        return EConnector(
            bioflex_token=self.token,
            public_token=self.token,
            private_host=self.private_host,
            private_token=self.token,
            bioflex_host=self.bioflex_host,
            public_host=self.public_host,
        )

    def environment(self) -> dict[str, str]:
        """Environment variables with which another process talks to this sandbox.

        Examples
        --------
        >>> import biocolab_accessor as bc
        >>> with bc.sandbox() as server:
        ...     sorted(server.environment())[:2]
        ['BIOCOLAB_BIOFLEX_HOST', 'BIOCOLAB_BIOFLEX_TOKEN']
        """
        hosts = {
            "BIOCOLAB_PRIVATE_HOST": self.private_host,
            "BIOCOLAB_PUBLIC_HOST": self.public_host,
            "BIOCOLAB_BIOFLEX_HOST": self.bioflex_host,
        }
        return hosts | {name.replace("_HOST", "_TOKEN"): self.token for name in hosts}
