"""TLS of outgoing connections, as Go's crypto/tls takes a config's certificates. Files are read again when changed."""

from __future__ import annotations

import os
import ssl
import warnings
from contextlib import ExitStack
from pathlib import Path

from tsdb.model.errors import ConfigError
from tsdb.net.config import TlsConfig
from tsdb.net.credentials import read_file

_VERSIONS = {
    "TLS10": ssl.TLSVersion.TLSv1,
    "TLS11": ssl.TLSVersion.TLSv1_1,
    "TLS12": ssl.TLSVersion.TLSv1_2,
    "TLS13": ssl.TLSVersion.TLSv1_3,
}

_State = tuple[tuple[int, int, int] | None, ...]
"""Of each file, what changes when it does."""


class ClientTls:
    """Makes contexts for connections. Raises ConfigError for certificates and keys that cannot be used."""

    def __init__(self, config: TlsConfig, base: Path) -> None:
        self.server_name = config.server_name or None
        self._config = config
        self._base = base
        self._files = [base / file for file in (config.ca_file, config.cert_file, config.key_file) if file]
        _check_versions(config)
        self._state = self._look()
        self._context: ssl.SSLContext | bool = True
        if config != TlsConfig(server_name=config.server_name):
            self._context = self._make()

    def context(self) -> ssl.SSLContext | bool:
        """Of a connection made now; True: the default one. Another object once files have changed, so that connections
        are not shared between them. Raises ConfigError for changed files that cannot be used."""
        if self._files:
            state = self._look()
            if state != self._state:
                self._context, self._state = self._make(), state
        return self._context

    def _look(self) -> _State:
        return tuple(_look(path) for path in self._files)

    def _make(self) -> ssl.SSLContext:
        config = self._config
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.set_alpn_protocols(["http/1.1"])
        context.hostname_checks_common_name = False
        if config.insecure_skip_verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        elif config.ca or config.ca_file:
            self._trust(context)
        else:
            context.load_default_certs()
        self._set_versions(context)
        if config.cert or config.cert_file:
            self._identify(context)
        return context

    def _trust(self, context: ssl.SSLContext) -> None:
        config = self._config
        where = f"file {self._base / config.ca_file}" if config.ca_file else "inline"
        text = read_file(self._base / config.ca_file, "unable to read CA cert") if config.ca_file else config.ca
        try:
            context.load_verify_locations(cadata=text)
        except (ssl.SSLError, ValueError) as problem:
            raise ConfigError(f"unable to use specified CA cert ({where}): {_reason(problem)}: it must hold "
                              "certificates in PEM") from None
        # whatever is in the file is trusted, a certificate that another one signed too
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN

    def _identify(self, context: ssl.SSLContext) -> None:
        config = self._config
        cert_where = f"file {self._base / config.cert_file}" if config.cert_file else "inline"
        key_where = f"file {self._base / config.key_file}" if config.key_file else "inline"
        cert, key = config.cert, str(config.key_)
        if config.cert_file:
            cert = read_file(self._base / config.cert_file, "unable to read specified client cert")
        if config.key_file:
            key = read_file(self._base / config.key_file, "unable to read specified client key")

        def refuse() -> str:
            raise ConfigError(f"client key ({key_where}) is encrypted: give one without a passphrase")

        with ExitStack() as stack:
            names = [_in_memory(stack, text) for text in (cert, key)]
            try:
                context.load_cert_chain(names[0], names[1], refuse)
            except (ssl.SSLError, ValueError, OSError) as problem:
                raise ConfigError(f"unable to use specified client cert ({cert_where}) & key ({key_where}): "
                                  f"{_reason(problem)}") from None

    def _set_versions(self, context: ssl.SSLContext) -> None:
        config = self._config
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of TLS 1.0 and 1.1, which the user asked for
            if config.min_version is not None:
                context.minimum_version = _VERSIONS[config.min_version]
            if config.max_version is not None:
                context.maximum_version = _VERSIONS[config.max_version]
        if context.minimum_version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1):
            context.set_ciphers("DEFAULT:@SECLEVEL=0")  # which OpenSSL needs for them


def _check_versions(config: TlsConfig) -> None:
    if config.min_version is not None and config.max_version is not None and config.max_version < config.min_version:
        raise ConfigError("tls_config.max_version must be greater than or equal to tls_config.min_version if both are "
                          "specified")


def _look(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def _in_memory(stack: ExitStack, text: str) -> str:
    """A file name under which the text can be read while the stack is open: `ssl` takes keys from files only."""
    file = stack.enter_context(os.fdopen(os.memfd_create("tls"), "wb"))
    file.write(text.encode())
    file.flush()
    return f"/proc/self/fd/{file.fileno()}"


def _reason(problem: Exception) -> str:
    if isinstance(problem, ssl.SSLError) and problem.reason:
        return str(problem.reason).lower().replace("_", " ")
    return problem.strerror or str(problem) if isinstance(problem, OSError) else str(problem)
