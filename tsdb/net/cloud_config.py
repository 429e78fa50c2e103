"""Config of the ways in which clouds want requests signed, as Prometheus has it in remote_write and alertmanagers."""

from __future__ import annotations

import re
import uuid
from typing import Annotated, Any

from tsdb.model.document import Place
from tsdb.model.settings import Secret, Section, key


class SigV4Config(Section, frozen=True):
    """Amazon's Signature Version 4."""

    region: Annotated[str, key("Region; of the default credentials where it is empty.")] = ""
    access_key: Annotated[str, key("Access key.")] = ""
    secret_key: Annotated[Secret, key("Secret key.")] = Secret()
    profile: Annotated[str, key("Profile of the credentials file.")] = ""
    role_arn: Annotated[str, key("Role to take.")] = ""
    external_id: Annotated[str, key("External id for taking the role.")] = ""
    use_fips_sts_endpoint: Annotated[bool, key("Take the role at the FIPS endpoint.")] = False
    service_name: Annotated[str, key("Service that requests are signed for; `aps` where it is empty.")] = ""

    def checked(self, place: Place) -> SigV4Config:
        if bool(self.access_key) != bool(self.secret_key):
            raise place.error("must provide a AWS SigV4 Access key and Secret Key if credentials are specified in the "
                              "SigV4 config")
        return self


class ManagedIdentity(Section, frozen=True):
    """A managed identity of Azure."""

    client_id: Annotated[str, key("Client id.")] = ""


class AzureOAuth(Section, frozen=True):
    """An application that is registered with Azure."""

    client_id: Annotated[str, key("Client id.")] = ""
    client_secret: Annotated[Secret, key("Client secret.")] = Secret()
    tenant_id: Annotated[str, key("Tenant id.")] = ""


class AzureWorkloadIdentity(Section, frozen=True):
    """A workload identity of Azure."""

    client_id: Annotated[str, key("Client id.")] = ""
    tenant_id: Annotated[str, key("Tenant id.")] = ""
    token_file_path: Annotated[str, key("File of the token.")] = ""


class AzureSdk(Section, frozen=True):
    """What Azure's SDK finds."""

    tenant_id: Annotated[str, key("Tenant id.")] = ""


class AzureAdConfig(Section, frozen=True):
    """Tokens of Azure AD."""

    cloud: Annotated[Any, key("`AzurePublic`, `AzureChina`, `AzureGovernment`, or a mapping for `AzureCustom`.")] = (
        "AzurePublic"
    )
    managed_identity: Annotated[ManagedIdentity | None, key("A managed identity.")] = None
    oauth: Annotated[AzureOAuth | None, key("A registered application.")] = None
    workload_identity: Annotated[AzureWorkloadIdentity | None, key("A workload identity.")] = None
    sdk: Annotated[AzureSdk | None, key("What Azure's SDK finds.")] = None
    scope: Annotated[str, key("Scope of the token.")] = ""

    def checked(self, place: Place) -> AzureAdConfig:
        given = [name for name in ("managed_identity", "oauth", "workload_identity", "sdk") if getattr(self, name)]
        if isinstance(self.cloud, str) and self.cloud not in ("AzurePublic", "AzureChina", "AzureGovernment"):
            raise place.error("must provide a cloud in the Azure AD config", "cloud")
        if not given:
            raise place.error("must provide an Azure Managed Identity, Azure Workload Identity, Azure OAuth or Azure "
                              "SDK in the Azure AD config")
        if len(given) > 1:
            raise place.error(f"cannot provide multiple authentication methods in the Azure AD config: {given[0]} and "
                              f"{given[1]}", given[1])
        if self.oauth and not (self.oauth.client_id and self.oauth.client_secret and self.oauth.tenant_id):
            raise place.error("must provide an Azure OAuth client_id, client_secret and tenant_id in the Azure AD "
                              "config", "oauth")
        for name, section in (("managed_identity", self.managed_identity), ("oauth", self.oauth)):
            if section is not None and section.client_id and not _is_uuid(section.client_id):
                raise place.error(f"the provided {name} client_id is invalid", name, "client_id")
        for name, tenant in (("oauth", self.oauth), ("sdk", self.sdk)):
            if tenant is not None and tenant.tenant_id and not re.fullmatch("[0-9a-zA-Z.-]+", tenant.tenant_id):
                raise place.error(f"the provided {name} tenant_id is invalid", name, "tenant_id")
        return self


class GoogleIamConfig(Section, frozen=True):
    """Tokens of Google Cloud."""

    credentials_file: Annotated[str, key("File of the credentials; the default ones where it is empty.")] = ""


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
