"""Config of the sections ``remote_write`` and ``remote_read``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from msgspec import field

from tsdb.model.document import Place
from tsdb.model.settings import Duration, Section, Url, fields, key
from tsdb.net.cloud_config import AzureAdConfig, GoogleIamConfig, SigV4Config
from tsdb.net.config import RESERVED_HEADERS, HttpClientConfig
from tsdb.relabel.config import RelabelConfig


class QueueConfig(Section, frozen=True):
    """How samples wait to be sent, and how they are sent."""

    capacity: Annotated[int, key("Samples that wait in one shard.", unit="samples")] = 10_000
    max_shards: Annotated[int, key("Most requests at once.")] = 50
    min_shards: Annotated[int, key("Fewest requests at once.")] = 1
    max_samples_per_send: Annotated[int, key("Most samples of one request.", unit="samples")] = 2000
    batch_send_deadline: Annotated[Duration, key("How long a sample waits for others.")] = Duration.of("5s")
    min_backoff: Annotated[Duration, key("First wait before a request is sent again; it doubles.")] = (
        Duration.of("30ms")
    )
    max_backoff: Annotated[Duration, key("Longest wait before a request is sent again.")] = Duration.of("5s")
    retry_on_http_429: Annotated[bool, key("Send again after status 429.")] = False
    sample_age_limit: Annotated[Duration, key("Older samples are dropped. 0: none are.")] = Duration(0)


class MetadataConfig(Section, frozen=True):
    """What is sent about metrics."""

    send: Annotated[bool, key("Send types and help texts.", empty=False, always=True)] = True
    send_interval: Annotated[Duration, key("How often.", always=True)] = Duration.of("1m")
    max_samples_per_send: Annotated[int, key("Most metrics of one request.")] = 2000


class RemoteWriteConfig(HttpClientConfig, frozen=True, kw_only=True):
    """A system that samples are sent to."""

    url: Annotated[Url, key("Where to.", always=True)]
    remote_timeout: Annotated[Duration, key("How long a request may take.")] = Duration.of("30s")
    headers: Annotated[dict[str, str], key("More headers.")] = field(default_factory=dict)
    write_relabel_configs: Annotated[
        tuple[RelabelConfig, ...], key("Rules that choose series and rewrite their labels.")
    ] = ()
    name: Annotated[str, key("Name in logs and metrics. Unique.")] = ""
    send_exemplars: Annotated[bool, key("Send exemplars.")] = False
    send_native_histograms: Annotated[bool, key("Send native histograms.")] = False
    round_robin_dns: Annotated[bool, key("Spread requests over all addresses of the host.")] = False
    protobuf_message: Annotated[
        Literal["prometheus.WriteRequest", "io.prometheus.write.v2.Request"],
        key("Protocol: remote write 1.0 or 2.0."),
    ] = "prometheus.WriteRequest"
    enable_http2: Annotated[
        bool, key("Taken for compatibility: requests are HTTP/1.1.", always=True)
    ] = False
    queue_config: Annotated[QueueConfig, key("How samples wait and are sent.")] = QueueConfig()
    metadata_config: Annotated[MetadataConfig, key("What is sent about metrics.")] = MetadataConfig()
    sigv4: Annotated[SigV4Config | None, key("Requests signed as Amazon wants them.")] = None
    azuread: Annotated[AzureAdConfig | None, key("Tokens of Azure AD.")] = None
    google_iam: Annotated[GoogleIamConfig | None, key("Tokens of Google Cloud.")] = None

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        return _order(cls, before="queue_config")

    def checked(self, place: Place) -> Self:
        if not self.url:
            raise place.error("url for remote_write is empty", "url")
        check_headers(self.headers, place.at("headers"))
        made = super().checked(place)
        ways = ("basic_auth", "authorization", "oauth2", "sigv4", "azuread", "google_iam")
        given = [name for name in ways if getattr(made, name)]
        if len(given) > 1:
            raise place.error("at most one of basic_auth, authorization, oauth2, sigv4, azuread or google_iam must be "
                              f"configured. Currently configured: [{' '.join(given)}]", given[-1])
        return made


class RemoteReadConfig(HttpClientConfig, frozen=True, kw_only=True):
    """A system that samples are read from, beside our own."""

    url: Annotated[Url, key("Where from.", always=True)]
    remote_timeout: Annotated[Duration, key("How long a request may take.")] = Duration.of("1m")
    chunked_read_limit: Annotated[int, key("Largest frame of an answer.", unit="bytes")] = 50_000_000
    headers: Annotated[dict[str, str], key("More headers.")] = field(default_factory=dict)
    read_recent: Annotated[bool, key("Ask for times, too, for which all samples are here.")] = False
    name: Annotated[str, key("Name in logs and metrics. Unique.")] = ""
    required_matchers: Annotated[
        dict[str, str], key("Only selectors that have these labels with these values are asked there.")
    ] = field(default_factory=dict)
    filter_external_labels: Annotated[bool, key("Ask with our external labels.")] = True

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        return _order(cls, before="required_matchers")

    def checked(self, place: Place) -> Self:
        if not self.url:
            raise place.error("url for remote_read is empty", "url")
        check_headers(self.headers, place.at("headers"))
        return super().checked(place)


def check_headers(headers: dict[str, str], place: Place) -> None:
    """Refuses headers that other keys or the protocol set. Raises ConfigError."""
    for name in headers:
        if name.lower() == "authorization":
            raise place.error("authorization header must be changed via the basic_auth, authorization, oauth2, sigv4, "
                              "azuread or google_iam parameter", name)
        if name.lower() in RESERVED_HEADERS:
            raise place.error(f"{name} is a reserved header. It must not be changed", name)


def _order(section: type[HttpClientConfig], before: str) -> list[str]:
    """Its own keys, with those of the client put `before` one of them."""
    inherited = HttpClientConfig.shown_order()
    own = [name for name in fields(section) if name not in inherited]
    at = own.index(before)
    return [*own[:at], *inherited, *own[at:]]
