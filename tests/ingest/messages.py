"""Messages of remote_write 1.0 and 2.0 for the protobuf library: an encoder that is not ours."""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from tests.ingest.sender import compress
from tsdb.model.native_histograms import NativeHistogram

Message = Any
"""Of the protobuf library: made at run time, without types."""

HISTOGRAM = """
    count_int=1:uint64*count count_float=2:double*count sum=3:double schema=4:sint32 zero_threshold=5:double
    zero_count_int=6:uint64*zero_count zero_count_float=7:double*zero_count
    negative_spans=8:[BucketSpan] negative_deltas=9:[sint64] negative_counts=10:[double]
    positive_spans=11:[BucketSpan] positive_deltas=12:[sint64] positive_counts=13:[double]
    reset_hint=14:int32 timestamp=15:int64 custom_values=16:[double] start_timestamp=17:int64"""

ONE = {
    "WriteRequest": "timeseries=1:[TimeSeries] metadata=3:[MetricMetadata]",
    "TimeSeries": "labels=1:[Label] samples=2:[Sample] exemplars=3:[Exemplar] histograms=4:[Histogram]",
    "Label": "name=1:string value=2:string",
    "Sample": "value=1:double timestamp=2:int64",
    "Exemplar": "labels=1:[Label] value=2:double timestamp=3:int64",
    "MetricMetadata": "type=1:int32 metric_family_name=2:string help=4:string unit=5:string",
    "BucketSpan": "offset=1:sint32 length=2:uint32",
    "Histogram": HISTOGRAM,
}
TWO = {
    "Request": "symbols=4:[string] timeseries=5:[TimeSeries]",
    "TimeSeries": "labels_refs=1:[uint32] samples=2:[Sample] histograms=3:[Histogram] exemplars=4:[Exemplar]"
                  " metadata=5:Metadata created_timestamp=6:int64",
    "Sample": "value=1:double timestamp=2:int64 start_timestamp=3:int64",
    "Exemplar": "labels_refs=1:[uint32] value=2:double timestamp=3:int64",
    "Metadata": "type=1:int32 help_ref=3:uint32 unit_ref=4:uint32",
    "BucketSpan": "offset=1:sint32 length=2:uint32",
    "Histogram": HISTOGRAM,
}
"""Fields of each message: name=number:type, [type] where repeated, *group where one of several."""


def message_types(package: str, table: dict[str, str]) -> dict[str, Message]:
    """Classes of the messages of a proto3 file."""
    file = descriptor_pb2.FileDescriptorProto(name=f"{package}.proto", package=package, syntax="proto3")
    field_type: Any = descriptor_pb2.FieldDescriptorProto
    for name, fields in table.items():
        message = file.message_type.add(name=name)
        groups: list[str] = []
        for text in fields.split():
            field_name, _, rest = text.partition("=")
            number, _, kind = rest.partition(":")
            kind, _, group = kind.partition("*")
            field = message.field.add(name=field_name, number=int(number), label=field_type.LABEL_OPTIONAL)
            if kind.startswith("["):
                field.label, kind = field_type.LABEL_REPEATED, kind[1:-1]
            if kind in table:
                field.type, field.type_name = field_type.TYPE_MESSAGE, f".{package}.{kind}"
            else:
                field.type = getattr(field_type, f"TYPE_{kind.upper()}")
            if group:
                if group not in groups:
                    groups.append(group)
                    message.oneof_decl.add(name=group)
                field.oneof_index = groups.index(group)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{package}.{name}")) for name in table}


V1 = message_types("prometheus", ONE)
V2 = message_types("io.prometheus.write.v2", TWO)


def histogram_message(one: NativeHistogram, ts: int = 0, types: dict[str, Message] = V1) -> Message:
    """A histogram as Prometheus sends it."""
    made = types["Histogram"](sum=one.sum, schema=one.schema, zero_threshold=one.zero_threshold,
                              reset_hint=int(one.hint), timestamp=ts, custom_values=one.custom_values)
    sides = (("positive", one.positive_spans, one.positive), ("negative", one.negative_spans, one.negative))
    for side, spans, counts in sides:
        for offset, length in spans:
            getattr(made, f"{side}_spans").add(offset=offset, length=length)
        if one.floats:
            getattr(made, f"{side}_counts").extend(counts)
        else:
            before = (0, *counts)
            getattr(made, f"{side}_deltas").extend(int(b - a) for a, b in zip(before, counts, strict=False))
    if one.floats:
        made.count_float, made.zero_count_float = one.count, one.zero_count
    else:
        made.count_int, made.zero_count_int = int(one.count), int(one.zero_count)
    return made


class Request:
    """A request of remote_write 2.0 in the making."""

    def __init__(self) -> None:
        self.message: Message = V2["Request"](symbols=[""])

    def ref(self, text: str) -> int:
        symbols = self.message.symbols
        if text not in symbols:
            symbols.append(text)
        return list(symbols).index(text)

    def refs(self, *pairs: tuple[str, str]) -> list[int]:
        return [self.ref(text) for pair in pairs for text in pair]

    def add(self, labels: dict[str, str], *samples: tuple[int, float]) -> Message:
        """A TimeSeries, labels sorted."""
        series = self.message.timeseries.add(labels_refs=self.refs(*sorted(labels.items())))
        for ts, value in samples:
            series.samples.add(timestamp=ts, value=value)
        return series

    @property
    def raw(self) -> bytes:
        return bytes(self.message.SerializeToString())

    @property
    def body(self) -> bytes:
        return compress(self.raw)
