"""Config of outgoing HTTP, as Prometheus has it in scrape_config, remote_write and everywhere else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal, Self

import msgspec
from msgspec import field

from tsdb.model.document import Place
from tsdb.model.settings import Secret, Section, Url, fields, key

TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]

RESERVED_HEADERS = frozenset({
    "authorization", "host", "content-encoding", "content-length", "content-type", "user-agent", "connection",
    "keep-alive", "proxy-authenticate", "proxy-authorization", "www-authenticate", "accept-encoding",
    "x-prometheus-remote-write-version", "x-prometheus-remote-read-version", "x-prometheus-scrape-timeout-seconds",
    "x-amz-date", "x-amz-security-token", "x-amz-content-sha256",
})
"""What a config cannot set, in lower case: it belongs to the connection, to us, or to other keys."""


class BasicAuth(Section, frozen=True):
    """User and password."""

    username: Annotated[str, key("User name.")] = ""
    username_file: Annotated[
        str, key("File that holds the user name, read again for each request.", file=True)
    ] = ""
    password: Annotated[Secret, key("Password.")] = Secret()
    password_file: Annotated[str, key("File that holds the password, read again for each request.", file=True)] = ""


class Authorization(Section, frozen=True):
    """The header `Authorization`."""

    type: Annotated[str, key("Type of the credentials; anything but `Basic`, which is `basic_auth`.")] = "Bearer"
    credentials: Annotated[Secret, key("The credentials.")] = Secret()
    credentials_file: Annotated[str, key("File that holds them, read again for each request.", file=True)] = ""


class TlsConfig(Section, frozen=True, rename={"key_": "key"}):
    """TLS of an outgoing connection."""

    ca: Annotated[str, key("Certificates of the authorities that are trusted, PEM.")] = ""
    cert: Annotated[str, key("Our certificate, PEM.")] = ""
    key_: Annotated[Secret, key("Our private key, PEM.")] = Secret()
    ca_file: Annotated[str, key("File of `ca`, read again when it changes.", file=True)] = ""
    cert_file: Annotated[str, key("File of `cert`, read again when it changes.", file=True)] = ""
    key_file: Annotated[str, key("File of `key`, read again when it changes.", file=True)] = ""
    server_name: Annotated[str, key("Name that the peer's certificate must have, instead of its host.")] = ""
    insecure_skip_verify: Annotated[bool, key("Take any certificate.", always=True)] = False
    min_version: Annotated[TlsVersion | None, key("Oldest version of TLS that is spoken.")] = None
    max_version: Annotated[TlsVersion | None, key("Newest version of TLS that is spoken.")] = None

    def checked(self, place: Place) -> TlsConfig:
        has_cert, has_key = bool(self.cert or self.cert_file), bool(self.key_ or self.key_file)
        for one, other in (("ca", "ca_file"), ("cert", "cert_file"), ("key", "key_file")):
            if getattr(self, "key_" if one == "key" else one) and getattr(self, other):
                raise place.error(f"at most one of {one}, {other} & {one}_ref must be configured", other)
        if has_cert and not has_key:
            raise place.error("exactly one of key or key_file must be configured when a client certificate is "
                              "configured")
        if has_key and not has_cert:
            raise place.error("exactly one of cert or cert_file must be configured when a client key is configured")
        return self


class ProxyConfig(Section, frozen=True):
    """Inlined into what is asked through a proxy."""

    proxy_url: Annotated[Url, key("Proxy that requests go through.")] = Url()
    no_proxy: Annotated[str, key("Hosts, addresses, networks and domains, separated by commas, that need none.")] = ""
    proxy_from_environment: Annotated[
        bool, key("Take the proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")
    ] = False
    proxy_connect_header: Annotated[
        dict[str, tuple[Secret, ...]], key("Headers for the proxy's CONNECT.")
    ] = field(default_factory=dict)

    def checked(self, place: Place) -> Self:
        if self.proxy_connect_header and not (self.proxy_from_environment or self.proxy_url):
            raise place.error("if proxy_connect_header is configured, proxy_url or proxy_from_environment must also be "
                              "configured", "proxy_connect_header")
        if self.proxy_from_environment and (self.proxy_url or self.no_proxy):
            other = "proxy_url" if self.proxy_url else "no_proxy"
            raise place.error(f"if proxy_from_environment is configured, {other} must not be configured", other)
        if self.no_proxy and not self.proxy_url:
            raise place.error("if no_proxy is configured, proxy_url must also be configured", "no_proxy")
        return self


class OAuth2(ProxyConfig, frozen=True):
    """OAuth 2.0 client credentials."""

    client_id: Annotated[str, key("Client id.", always=True)] = ""
    client_secret: Annotated[Secret, key("Client secret.")] = Secret()
    client_secret_file: Annotated[str, key("File that holds it.", file=True)] = ""
    scopes: Annotated[tuple[str, ...], key("Scopes of the token.")] = ()
    token_url: Annotated[str, key("Where tokens are fetched.", always=True)] = ""
    endpoint_params: Annotated[dict[str, str], key("More parameters for `token_url`.")] = field(default_factory=dict)
    tls_config: Annotated[TlsConfig, key("TLS towards `token_url`.")] = TlsConfig()

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        proxy = list(fields(ProxyConfig))
        return [name for name in fields(cls) if name not in proxy] + proxy

    def checked(self, place: Place) -> Self:
        if not self.client_id:
            raise place.error("oauth2 client_id must be configured")
        if not self.token_url:
            raise place.error("oauth2 token_url must be configured")
        if self.client_secret and self.client_secret_file:
            raise place.error("at most one of oauth2 client_secret, client_secret_file & client_secret_ref must be "
                              "configured", "client_secret_file")
        return super().checked(place)


class HttpHeader(Section, frozen=True):
    """A header of requests."""

    values: Annotated[tuple[str, ...], key("Values.")] = ()
    secrets: Annotated[tuple[Secret, ...], key("Values that are not shown.")] = ()
    files: Annotated[tuple[str, ...], key("Files that hold values, read again for each request.", file=True)] = ()


class HttpClientConfig(ProxyConfig, frozen=True):
    """Inlined into each section that makes requests."""

    basic_auth: Annotated[BasicAuth | None, key("User and password.")] = None
    authorization: Annotated[Authorization | None, key("The header `Authorization`.")] = None
    oauth2: Annotated[OAuth2 | None, key("Tokens by OAuth 2.0 client credentials.")] = None
    bearer_token: Annotated[Secret, key("Older form of `authorization.credentials`.")] = Secret()
    bearer_token_file: Annotated[
        str, key("Older form of `authorization.credentials_file`.", file=True)
    ] = ""
    tls_config: Annotated[TlsConfig, key("TLS.")] = TlsConfig()
    follow_redirects: Annotated[bool, key("Go where a redirect leads.", empty=False, always=True)] = True
    enable_http2: Annotated[
        bool, key("Taken for compatibility: requests are HTTP/1.1.", empty=False, always=True)
    ] = True
    http_headers: Annotated[dict[str, HttpHeader], key("More headers.")] = field(default_factory=dict)

    @classmethod
    def shown_order(cls) -> Sequence[str]:
        names = list(fields(HttpClientConfig))
        proxy = list(fields(ProxyConfig))
        return [name for name in names if name not in (*proxy, "http_headers")] + [*proxy, "http_headers"]

    def checked(self, place: Place) -> Self:
        """As Prometheus' HTTPClientConfig.Validate; bearer_token is turned into authorization, as there."""
        token, token_file = self.bearer_token, self.bearer_token_file
        basic, authorization = self.basic_auth, self.authorization
        if token and token_file:
            raise place.error("at most one of bearer_token & bearer_token_file must be configured", "bearer_token_file")
        if (basic or self.oauth2) and (token or token_file):
            raise place.error("at most one of basic_auth, oauth2, bearer_token & bearer_token_file must be configured",
                              "bearer_token" if token else "bearer_token_file")
        if basic and basic.username and basic.username_file:
            raise place.error("at most one of basic_auth username, username_file & username_ref must be configured",
                              "basic_auth", "username_file")
        if basic and basic.password and basic.password_file:
            raise place.error("at most one of basic_auth password, password_file & password_ref must be configured",
                              "basic_auth", "password_file")
        if authorization is not None:
            self._check_authorization(authorization, place)
            type_ = authorization.type.strip() or "Bearer"
            authorization = msgspec.structs.replace(authorization, type=type_)
        elif token or token_file:
            authorization = Authorization(credentials=token, credentials_file=token_file)
        if self.oauth2 and basic:
            raise place.error("at most one of basic_auth, oauth2 & authorization must be configured", "oauth2")
        self._check_headers(place.at("http_headers"))
        made = msgspec.structs.replace(self, authorization=authorization, bearer_token=Secret(), bearer_token_file="")
        return super(HttpClientConfig, made).checked(place)

    def _check_authorization(self, authorization: Authorization, place: Place) -> None:
        if self.bearer_token or self.bearer_token_file:
            raise place.error("authorization is not compatible with bearer_token & bearer_token_file", "authorization")
        if authorization.credentials and authorization.credentials_file:
            raise place.error("at most one of authorization credentials & credentials_file must be configured",
                              "authorization", "credentials_file")
        if authorization.type.strip().lower() == "basic":
            raise place.error('authorization type cannot be set to "basic", use "basic_auth" instead',
                              "authorization", "type")
        if self.basic_auth or self.oauth2:
            raise place.error("at most one of basic_auth, oauth2 & authorization must be configured", "authorization")

    def _check_headers(self, place: Place) -> None:
        for name in self.http_headers:
            if name.lower() in RESERVED_HEADERS:
                raise place.error(f'setting header "{name.title()}" is not allowed', name)
