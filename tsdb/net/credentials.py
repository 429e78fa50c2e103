"""Headers that a config gives to requests: credentials and others, from the config itself or from files."""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Mapping
from pathlib import Path

from multidict import CIMultiDict

from tsdb.model.errors import ConfigError
from tsdb.net.config import HttpClientConfig

_LARGEST = 1 << 20
"""Bytes of a file that holds a secret; a larger one is a mistake."""


class Text:
    """A text of a config, given there or in a file that is read again each time."""

    def __init__(self, what: str, text: str, file: str, base: Path) -> None:
        """`what` it is, for errors. Raises ConfigError for a text that is no header's value."""
        self._what = what
        self._text = _one_line(text, f"{what} in the config")
        self._path = base / file if file else None

    @property
    def fixed(self) -> bool:
        return self._path is None

    def read(self) -> str:
        """Raises ConfigError, which names the file."""
        if self._path is None:
            return self._text
        text = read_file(self._path, f"unable to read {self._what}")
        return _one_line(text.strip(), f"file {self._path}, {self._what},")


def read_file(path: Path, problem: str) -> str:
    """The text of a file, at most 1 MiB. Raises ConfigError, which begins with `problem`."""
    try:
        with path.open("rb") as file:
            content = file.read(_LARGEST + 1)
            if len(content) > _LARGEST:
                raise ConfigError(f"{problem}: file {path} is larger than 1 MiB")
            return content.decode()
    except OSError as error:
        reason = os.strerror(error.errno).lower() if error.errno is not None else str(error)
        raise ConfigError(f"{problem}: unable to read file {path}: open {path}: {reason}") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{problem}: file {path} is not UTF-8 text") from None


def _one_line(text: str, what: str) -> str:
    if any(char in text for char in "\r\n\0"):
        raise ConfigError(f"{what} holds a line end, which no header can: it must be one line")
    return text


class ConfiguredHeaders:
    """The headers of a client's requests. Raises ConfigError for values that no header can have."""

    def __init__(self, config: HttpClientConfig, base: Path) -> None:
        self._plain: list[tuple[str, str]] = []
        """Names and values that are no secrets."""
        self._secret: list[tuple[str, str]] = []
        self._read: list[tuple[str, Text]] = []
        """What is read for each request."""
        for name, header in config.http_headers.items():
            name = "-".join(part.capitalize() for part in name.split("-"))
            self._plain += [(name, Text(f"a value of header {name}", text, "", base).read()) for text in header.values]
            self._secret += [(name, Text(f"a secret of header {name}", text, "", base).read())
                             for text in header.secrets]
            self._read += [(name, Text(f"header {name}", "", file, base)) for file in header.files]
        self._authorization, fixed = _authorization(config, base)
        self._fixed_authorization = self._authorization() if fixed else None

    def make(self, given: Mapping[str, str] | None, *, trusted: bool) -> CIMultiDict[str]:
        """The headers of one request, those `given` among them; a given `Authorization` stands instead of the config's.
        What is not `trusted` gets no credentials, given ones neither, no secrets and no contents of files.

        Raises ConfigError for a file that cannot be read."""
        made: CIMultiDict[str] = CIMultiDict(given or {})
        made.extend(self._plain)
        if not trusted:
            for name in ("Authorization", "Cookie", "Proxy-Authorization"):
                made.popall(name, None)
            return made
        made.extend(self._secret)
        for name, text in self._read:
            made.add(name, text.read())
        if "Authorization" not in made:
            authorization = self._fixed_authorization
            if authorization is None:
                authorization = self._authorization()
            if authorization:
                made["Authorization"] = authorization
        return made


def _authorization(config: HttpClientConfig, base: Path) -> tuple[Callable[[], str], bool]:
    """What gives the header's value, or nothing, and whether it is always the same."""
    basic = config.basic_auth
    if basic is not None:
        name = Text("basic auth username", basic.username, basic.username_file, base)
        password = Text("basic auth password", basic.password, basic.password_file, base)
        return lambda: basic_auth(name.read(), password.read()), name.fixed and password.fixed
    if config.authorization is not None:
        scheme = config.authorization.type.strip() or "Bearer"
        token, file = str(config.authorization.credentials), config.authorization.credentials_file
    elif config.bearer_token or config.bearer_token_file:
        scheme, token, file = "Bearer", str(config.bearer_token), config.bearer_token_file
    else:
        return lambda: "", True
    credentials = Text("authorization credentials", token, file, base)
    return lambda: f"{scheme} {credentials.read()}", credentials.fixed


def basic_auth(user: str, password: str) -> str:
    """The value of the header `Authorization`."""
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()
