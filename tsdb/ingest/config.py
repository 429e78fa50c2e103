"""Config of the section ``otlp``: how OpenTelemetry's names and attributes become labels."""

from __future__ import annotations

from typing import Annotated, Literal

from tsdb.model.document import Place
from tsdb.model.settings import Section, key


class OtlpConfig(Section, frozen=True):
    """How OpenTelemetry's names and attributes become labels."""

    promote_all_resource_attributes: Annotated[bool, key("Make labels of all attributes of resources.")] = False
    promote_resource_attributes: Annotated[tuple[str, ...], key("Attributes of resources to make labels of.")] = ()
    ignore_resource_attributes: Annotated[
        tuple[str, ...], key("Those to leave out where all are made labels.")
    ] = ()
    translation_strategy: Annotated[
        Literal["UnderscoreEscapingWithSuffixes", "UnderscoreEscapingWithoutSuffixes", "NoUTF8EscapingWithSuffixes",
                "NoTranslation"],
        key("What happens to names."),
    ] = "UnderscoreEscapingWithSuffixes"
    keep_identifying_resource_attributes: Annotated[
        bool, key("Keep service.name and the like in `target_info`, too.")
    ] = False
    convert_histograms_to_nhcb: Annotated[bool, key("Make native histograms of explicit ones.")] = False
    promote_scope_metadata: Annotated[bool, key("Make labels of the scope's name, version and attributes.")] = False
    label_name_underscore_sanitization: Annotated[bool | None, key("Put `key_` before names with a leading `_`.")] = (
        None
    )
    label_name_preserve_multiple_underscores: Annotated[bool | None, key("Keep several `_` in a row.")] = None

    @property
    def allows_any_name(self) -> bool:
        return self.translation_strategy in ("NoUTF8EscapingWithSuffixes", "NoTranslation")

    def checked(self, place: Place) -> OtlpConfig:
        promoted, ignored = self.promote_resource_attributes, self.ignore_resource_attributes
        if self.promote_all_resource_attributes and promoted:
            raise place.error("'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be "
                              "configured simultaneously", "promote_resource_attributes")
        if ignored and not self.promote_all_resource_attributes:
            raise place.error("'ignore_resource_attributes' cannot be configured unless "
                              "'promote_all_resource_attributes' is true", "ignore_resource_attributes")
        for name, words, attributes in (("promote_resource_attributes", "promoted", promoted),
                                        ("ignore_resource_attributes", "ignored", ignored)):
            stripped = [attribute.strip() for attribute in attributes]
            for index, attribute in enumerate(stripped):
                if not attribute:
                    raise place.error(f"invalid '{name}': empty {words} OTel resource attribute", name, index)
                if attribute in stripped[:index]:
                    raise place.error(f'invalid \'{name}\': duplicated {words} OTel resource attribute "{attribute}"',
                                      name, index)
        return self
