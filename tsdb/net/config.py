"""Config of outgoing HTTP, as Prometheus has it in scrape_config, remote_write and everywhere else."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import field

from tsdb.model.settings import Secret, Section, key

TlsVersion = Literal["TLS10", "TLS11", "TLS12", "TLS13"]


class BasicAuth(Section, frozen=True):
    username: Annotated[str, key("User name.")] = ""
    username_file: Annotated[str, key("File that holds the user name, read again for each request.")] = ""
    password: Annotated[Secret, key("Password.")] = Secret()
    password_file: Annotated[str, key("File that holds the password, read again for each request.")] = ""


class Authorization(Section, frozen=True):
    type: Annotated[str, key("Type of the credentials; anything but `Basic`, which is `basic_auth`.")] = "Bearer"
    credentials: Annotated[Secret, key("The credentials.")] = Secret()
    credentials_file: Annotated[str, key("File that holds them, read again for each request.")] = ""


class TlsConfig(Section, frozen=True, rename={"key_": "key"}):
    ca: Annotated[str, key("Certificates of the authorities that are trusted, PEM.")] = ""
    cert: Annotated[str, key("Our certificate, PEM.")] = ""
    key_: Annotated[Secret, key("Our private key, PEM.")] = Secret()
    ca_file: Annotated[str, key("File of `ca`.")] = ""
    cert_file: Annotated[str, key("File of `cert`.")] = ""
    key_file: Annotated[str, key("File of `key`.")] = ""
    server_name: Annotated[str, key("Name that the peer's certificate must have, instead of its host.")] = ""
    insecure_skip_verify: Annotated[bool, key("Take any certificate.")] = False
    min_version: Annotated[TlsVersion | None, key("Oldest version of TLS that is spoken.")] = None
    max_version: Annotated[TlsVersion | None, key("Newest version of TLS that is spoken.")] = None


class ProxyConfig(Section, frozen=True):
    """Inlined into what is asked through a proxy."""

    proxy_url: Annotated[str, key("Proxy that requests go through.")] = ""
    no_proxy: Annotated[str, key("Hosts, addresses, networks and domains, separated by commas, that need none.")] = ""
    proxy_from_environment: Annotated[
        bool, key("Take the proxy from HTTP_PROXY, HTTPS_PROXY and NO_PROXY.")
    ] = False
    proxy_connect_header: Annotated[
        dict[str, tuple[Secret, ...]], key("Headers for the proxy's CONNECT.")
    ] = field(default_factory=dict)


class OAuth2(ProxyConfig, frozen=True):
    client_id: Annotated[str, key("Client id.")] = ""
    client_secret: Annotated[Secret, key("Client secret.")] = Secret()
    client_secret_file: Annotated[str, key("File that holds it.")] = ""
    scopes: Annotated[tuple[str, ...], key("Scopes of the token.")] = ()
    token_url: Annotated[str, key("Where tokens are fetched.")] = ""
    endpoint_params: Annotated[dict[str, str], key("More parameters for `token_url`.")] = field(default_factory=dict)
    tls_config: Annotated[TlsConfig, key("TLS towards `token_url`.")] = TlsConfig()


class HttpHeader(Section, frozen=True):
    values: Annotated[tuple[str, ...], key("Values.")] = ()
    secrets: Annotated[tuple[Secret, ...], key("Values that are not shown.")] = ()
    files: Annotated[tuple[str, ...], key("Files that hold values, read again for each request.")] = ()


class HttpClientConfig(ProxyConfig, frozen=True):
    """Inlined into each section that makes requests."""

    basic_auth: Annotated[BasicAuth | None, key("User and password.")] = None
    authorization: Annotated[Authorization | None, key("The header `Authorization`.")] = None
    oauth2: Annotated[OAuth2 | None, key("Tokens by OAuth 2.0 client credentials.")] = None
    bearer_token: Annotated[Secret, key("Older form of `authorization.credentials`.")] = Secret()
    bearer_token_file: Annotated[str, key("Older form of `authorization.credentials_file`.")] = ""
    tls_config: Annotated[TlsConfig, key("TLS.")] = TlsConfig()
    follow_redirects: Annotated[bool, key("Go where a redirect leads.")] = True
    enable_http2: Annotated[bool, key("Taken for compatibility: requests are HTTP/1.1.")] = True
    http_headers: Annotated[dict[str, HttpHeader], key("More headers.")] = field(default_factory=dict)
