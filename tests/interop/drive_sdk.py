"""Drive biocolabsdk: what each getter of EConnector gives is driven with every case of its kind.

Runs where only the SDK is installed: ``python drive_sdk.py HOST TOKEN EXPECTED.json DOWNLOADS --email EMAIL``. The host
of Talk2Data is written into a method and cannot be set: of that getter only the kind of its answer is looked at.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import bioflex
import bioflex._connection
from biocolabsdk.connector import EConnector
from case import Expected, Report, arguments, case, equal, found_methods
from drive_bbrowserx import drive_connector
from drive_bioflex import BioFlexDriver
from drive_lens import drive_lens_connector

__all__ = ["SdkDriver"]


class SdkDriver:
    """Cases of EConnector.

    Parameters
    ----------
    chosen
        The command line.
    """

    def __init__(self, chosen: Any) -> None:
        self.host, self.token, self.email = chosen.host, chosen.token, chosen.email
        self.downloads: Path = chosen.downloads
        self.report, self.expected = Report(chosen.host), Expected(chosen.expected)
        self.connector = EConnector(
            bioflex_token=self.token, public_token=self.token, private_host=self.host, private_token=self.token
        )
        self.own = ""

    def run(self) -> None:
        """Run all cases, and all cases of what the getters give."""
        report = self.report.about("EConnector")
        methods = found_methods(EConnector)
        for name in dir(self):
            marked = getattr(getattr(self, name), "case", None)
            if marked and marked[0][0] in methods:
                report.run(marked[0], marked[1], marked[2], getattr(self, name))
        report.uncovered("EConnector", methods)
        # The address is a constant of bioflex, with no way to tell it through the SDK.
        bioflex._connection.BIOTURING_ADDRESS = self.host.partition("/t2d_index_tool")[0]
        BioFlexDriver(self.connector.get_bioflex(), self.report.about("bioflex"), self.expected, self.downloads).run()
        bbrowserx = self.connector.get_bbrowserx()
        own = drive_connector(bbrowserx, self.host, self.report, self.expected, self.downloads)
        for getter, where in (("get_lensbulk", "../lens_bulk/"), ("get_lenssc", "../lens_sc/")):
            if hasattr(self.connector, getter):
                host = urljoin(self.host, where)
                connector = getattr(self.connector, getter)(private_host=host)
                drive_lens_connector(connector, host, own, self.report, self.expected, self.downloads)

    @case("get_bbrowserx", name="host and token given to it win over those of the constructor")
    def a_bbrowserx(self) -> None:
        connector = EConnector(private_host="http://127.0.0.1:9/", private_token="wrong")
        equal("connection", connector.get_bbrowserx(self.host, self.token).test_connection() in (None, True), True)
        equal("groups", len(connector.get_bbrowserx(self.host, self.token).get_user_groups()), 2)

    @case("get_bioflex", name="a connection of bioflex")
    def a_bioflex(self) -> None:
        equal("kind", type(self.connector.get_bioflex()), bioflex.Connection)

    @case("get_talk2data", name="a connector; its host is fixed and not asked here")
    def a_talk2data(self) -> None:
        equal("kind", type(self.connector.get_talk2data()), type(self.connector.get_bbrowserx()))

    @case("get_lensbulk", name="connects")
    def a_lensbulk(self) -> None:
        equal("connection", self.connector.get_lensbulk(urljoin(self.host, "../lens_bulk/")).test_connection(), True)

    @case("get_lenssc", name="connects")
    def a_lenssc(self) -> None:
        equal("connection", self.connector.get_lenssc(urljoin(self.host, "../lens_sc/")).test_connection(), True)

    @case("get_settings", routes=["/pyapi/private/get_setting"], name="hosts and tokens from BioStudio")
    def b_settings(self) -> None:
        root = self.host.partition("/t2d_index_tool")[0]
        login = {"studio_host": root, "studio_token": self.token, "studio_email": self.email}
        connector = EConnector(use_token_from_api=True, **login)
        equal("host", connector.get_settings()["bio_bbx_private_domain"], self.host)
        equal("groups", len(connector.get_bbrowserx().get_user_groups()), 2)


def main() -> None:
    """Drive the SDK."""
    SdkDriver(arguments("Drive biocolabsdk against a server.")).run()


if __name__ == "__main__":
    main()
