"""The config file: schemas that each part owns, composed. The table of all keys is `all_keys()`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from scraper.config import GlobalConfig, ScrapeConfig
from scraper.config import check as check_scraping
from tsdb.model import document, settings
from tsdb.model.errors import ConfigError
from tsdb.model.settings import Section, key
from tsdb.server.config import QueryConfig, ServerConfig, StorageConfig


class Config(Section, frozen=True, rename={"global_": "global"}):
    global_: Annotated[GlobalConfig, key("What holds for all jobs.", reloadable=True)] = GlobalConfig()
    scrape_configs: Annotated[
        tuple[ScrapeConfig, ...], key("What is scraped: one entry per job.", reloadable=True)
    ] = ()
    storage: Annotated[StorageConfig, key("Where and how samples are kept.")] = StorageConfig()
    query: Annotated[QueryConfig, key("Limits of queries.")] = QueryConfig()
    server: Annotated[ServerConfig, key("The HTTP server.")] = ServerConfig()


def load(path: Path) -> Config:
    """Reads and checks a config file. Raises ConfigError."""
    try:
        text = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"{path}: cannot read the config file: {problem.strerror}") from None
    return parse(text, str(path))


def parse(text: str | bytes, name: str = "config") -> Config:
    """The config of a YAML text. Raises ConfigError."""
    parsed = document.parse(text, name)
    config = settings.build(parsed, Config)
    check_scraping(parsed, config.global_, config.scrape_configs)
    return config


def all_keys() -> list[settings.Key]:
    """All keys of the config file: the one table that the reference page comes from."""
    return list(settings.keys(Config))
