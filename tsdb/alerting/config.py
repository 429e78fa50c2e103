"""Config of the section ``alerting``: where alerts are sent."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from scraper.discovery_config import DiscoveryConfig, order
from tsdb.model.document import Place
from tsdb.model.settings import Duration, Section, key
from tsdb.net.cloud_config import SigV4Config
from tsdb.relabel.config import RelabelConfig


class AlertmanagerConfig(DiscoveryConfig, frozen=True):
    """A set of alertmanagers."""

    sigv4: Annotated[SigV4Config | None, key("Requests signed as Amazon wants them.")] = None
    scheme: Annotated[str, key("Protocol: `http` or `https`.")] = "http"
    path_prefix: Annotated[str, key("What stands before `/api/v2/alerts`.")] = ""
    timeout: Annotated[Duration, key("How long a request may take.")] = Duration.of("10s")
    api_version: Annotated[Literal["v2"], key("Version of its API.", always=True)] = "v2"
    relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose alertmanagers and rewrite their labels.")
    ] = ()
    alert_relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose alerts for them and rewrite their labels.")
    ] = ()

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        return order(cls, before="sigv4")

    def checked(self, place: Place) -> Self:
        if self.sigv4 and (self.basic_auth or self.authorization or self.oauth2):
            raise place.error("at most one of basic_auth, authorization, oauth2, & sigv4 must be configured", "sigv4")
        made = super().checked(place)
        if not self.relabel_configs:
            made.check_targets(place)
        return made


class AlertingConfig(Section, frozen=True):
    """Where alerts are sent."""

    alert_relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose alerts and rewrite their labels.")
    ] = ()
    alertmanagers: Annotated[tuple[AlertmanagerConfig, ...], key("Alertmanagers that alerts are sent to.")] = ()
