"""Config of service discovery: where targets come from."""

from __future__ import annotations

import re
from typing import Annotated, Any

from msgspec import field

from tsdb.model.document import Place
from tsdb.model.settings import Duration, Section, fields, key
from tsdb.net.config import HttpClientConfig

_FILE_NAME = re.compile(r"[^*]*(\*[^/]*)?\.(json|yml|yaml|JSON|YML|YAML)", re.DOTALL)


class StaticConfig(Section, frozen=True):
    """Targets that are named here."""

    targets: Annotated[tuple[str, ...], key("`host:port` of each target.", always=True)] = ()
    labels: Annotated[dict[str, str], key("Labels given to all series of these targets.")] = field(default_factory=dict)

    def checked(self, place: Place) -> StaticConfig:
        for name, value in self.labels.items():
            if not name or not encodable(name):
                raise place.error(f'"{name}" is not a valid label name', "labels", name)
            if not encodable(value):
                raise place.error(f'"{value!r}" is not a valid label value', "labels", name)
        return self


class FileDiscovery(Section, frozen=True):
    """Targets from files that are watched."""

    files: Annotated[
        tuple[str, ...],
        key("JSON or YAML files of target groups; the last part of a name may be a pattern.", file=True),
    ] = ()
    refresh_interval: Annotated[Duration, key("How often they are read where no change was noticed.")] = (
        Duration.of("5m")
    )

    def checked(self, place: Place) -> FileDiscovery:
        if not self.files:
            raise place.error("file service discovery config must contain at least one path name")
        for index, name in enumerate(self.files):
            if not _FILE_NAME.fullmatch(name):
                raise place.error(f'path name "{name}" is not valid for file discovery', "files", index)
        return self


NotBuilt = Annotated[
    tuple[Any, ...],
    key("Taken with any content.", built=False, without="no targets come from it"),
]
"""A mechanism that is known but not built."""


class DiscoveryConfig(HttpClientConfig, frozen=True):
    """Inlined into each section that names targets."""

    static_configs: Annotated[tuple[StaticConfig, ...], key("Targets that are named here.")] = ()
    file_sd_configs: Annotated[tuple[FileDiscovery, ...], key("Targets from files that are watched.")] = ()
    aws_sd_configs: NotBuilt = ()
    azure_sd_configs: NotBuilt = ()
    consul_sd_configs: NotBuilt = ()
    digitalocean_sd_configs: NotBuilt = ()
    dns_sd_configs: NotBuilt = ()
    docker_sd_configs: NotBuilt = ()
    dockerswarm_sd_configs: NotBuilt = ()
    ec2_sd_configs: NotBuilt = ()
    eureka_sd_configs: NotBuilt = ()
    gce_sd_configs: NotBuilt = ()
    hetzner_sd_configs: NotBuilt = ()
    http_sd_configs: NotBuilt = ()
    ionos_sd_configs: NotBuilt = ()
    kubernetes_sd_configs: NotBuilt = ()
    kuma_sd_configs: NotBuilt = ()
    lightsail_sd_configs: NotBuilt = ()
    linode_sd_configs: NotBuilt = ()
    marathon_sd_configs: NotBuilt = ()
    nerve_sd_configs: NotBuilt = ()
    nomad_sd_configs: NotBuilt = ()
    openstack_sd_configs: NotBuilt = ()
    outscale_sd_configs: NotBuilt = ()
    ovhcloud_sd_configs: NotBuilt = ()
    puppetdb_sd_configs: NotBuilt = ()
    scaleway_sd_configs: NotBuilt = ()
    serverset_sd_configs: NotBuilt = ()
    stackit_sd_configs: NotBuilt = ()
    triton_sd_configs: NotBuilt = ()
    uyuni_sd_configs: NotBuilt = ()
    vultr_sd_configs: NotBuilt = ()

    def check_targets(self, place: Place) -> None:
        """For who has no rules that make addresses of what is written. Raises ConfigError."""
        for number, group in enumerate(self.static_configs):
            for index, target in enumerate(group.targets):
                if "/" in target:
                    raise place.error(f'"{target}" is not a valid hostname: give host:port, no scheme, no path',
                                      "static_configs", number, "targets", index)


def order(section: type[DiscoveryConfig], before: str) -> list[str]:
    """Names of the keys of a section as Prometheus shows them: its own with those of the client put `before` one, and
    those of discovery last."""
    inherited = HttpClientConfig.shown_order()
    discovery = sorted(set(fields(DiscoveryConfig)) - set(inherited))
    own = [name for name in fields(section) if name not in inherited and name not in discovery]
    at = own.index(before)
    return [*own[:at], *inherited, *own[at:], *discovery]


def encodable(text: str) -> bool:
    """Whether the text can be written as UTF-8: a label's name or value must."""
    return text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
