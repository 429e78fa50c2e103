"""What scraped bodies in the text formats say, and which of them are refused."""

from __future__ import annotations

import random
import struct
from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.ingest import exposition_twin as twin
from tests.ingest.head import Head, read, target
from tests.ingest.test_remote_write import bits, hashes, rows_of
from tsdb.ingest.exposition.bounds import rewritten_bound
from tsdb.ingest.exposition.formats import Format, choose_format
from tsdb.ingest.exposition.scrape_series import Exemplars, Scrape, SeriesLimits
from tsdb.model.batch import Batch, Metadata
from tsdb.model.errors import ScrapeRefused, UnsupportedMedia
from tsdb.model.labels import format_series, labels_of_key

NOW = 1_790_000_000_000
Target = Mapping[str, str]

FAMILY = "io.prometheus.client.MetricFamily"


@pytest.mark.parametrize(
    ("content_type", "fallback", "expected"),
    [
        ("text/plain", None, Format.TEXT),
        ("text/plain; version=0.0.4; charset=utf-8", None, Format.TEXT),
        ("TEXT/Plain;version=1.0.0;escaping=allow-utf-8", None, Format.TEXT),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", None, Format.OPENMETRICS),
        (f"application/vnd.google.protobuf; proto={FAMILY}; encoding=delimited", None, Format.PROTOBUF),
        ("", "PrometheusText0.0.4", Format.TEXT),
        ("text/html", "OpenMetricsText1.0.0", Format.OPENMETRICS),
        ("text/plain; =", "PrometheusProto", Format.PROTOBUF),
        ("text/plain", "PrometheusProto", Format.TEXT),
        ("text/html", "text/plain", Format.TEXT),
        ("", None, "non-compliant scrape target sending blank Content-Type and no fallback_scrape_protocol specified"),
        ("", "", "non-compliant scrape target sending blank Content-Type"),
        ("text/html", None, 'received unsupported Content-Type "text/html" and no fallback_scrape_protocol specified'),
        ("text/plain; a", None, 'cannot parse Content-Type "text/plain; a" and no fallback_scrape_protocol for target'),
        ("text/plain; a=1; a=2", None, "cannot parse Content-Type"),
        (";", None, "cannot parse Content-Type"),
        ("text/html", "text/xml", "unknown fallback_scrape_protocol"),
    ],
)
def test_content_type(content_type: str, fallback: str | None, expected: Format | str) -> None:
    if isinstance(expected, Format):
        assert choose_format(content_type, fallback) is expected
    else:
        with pytest.raises(UnsupportedMedia, match=f"^{expected}"):
            choose_format(content_type, fallback)


def parsed(text: str | bytes, labels: Target | None = None, honor_labels: bool = False,
           format_: Format = Format.TEXT, limits: SeriesLimits | None = None) -> tuple[Scrape, Batch]:
    return read(target(dict(labels or {}), honor_labels=honor_labels, limits=limits), text, format_, NOW)


def labels_of(text: str | bytes, labels: Target | None = None, honor_labels: bool = False,
              format_: Format = Format.TEXT) -> list[dict[str, str]]:
    return [row for row, _ in rows_of(parsed(text, labels, honor_labels, format_)[1])]


EXPOSITION = """\
# HELP http_requests_total Requests, all.\\nEven \\\\these "ones".
# TYPE http_requests_total counter
http_requests_total{method="post",code="200"} 1027 1395066363000
http_requests_total{ code = "400", method="post" ,} 3\t1395066363001

\t# just a comment
#not even that
# UNIT rpc_seconds seconds
msdos_file_access_time_seconds{path="C:\\\\DIR\\\\FILE.TXT",error="Cannot find file:\\n\\"FILE.TXT\\""} 1.458255915e9
metric_without_timestamp_and_labels 12.47
something_weird{problem="division by zero"} +Inf 3982045
# TYPE rpc_seconds summary
rpc_seconds{quantile="0.5"} 4773
rpc_seconds{quantile="1"} NaN
rpc_seconds_sum 1.7560473e+07
{"my.name","größe"="x"} 1
# TYPE "my.name" gauge
# EOF
""".encode()


def test_an_exposition() -> None:
    scrape, batch = parsed(EXPOSITION, {"instance": "a:1", "job": "j"})
    own = {"instance": "a:1", "job": "j"}
    assert rows_of(batch) == [
        (dict(sorted((row | own).items())), [(ts, value)])
        for row, ts, value in [
            ({"__name__": "http_requests_total", "method": "post", "code": "200"}, 1395066363000, bits(1027.0)),
            ({"__name__": "http_requests_total", "method": "post", "code": "400"}, 1395066363001, bits(3.0)),
            ({"__name__": "msdos_file_access_time_seconds", "path": "C:\\DIR\\FILE.TXT",
              "error": 'Cannot find file:\n"FILE.TXT"'}, NOW, bits(1.458255915e9)),
            ({"__name__": "metric_without_timestamp_and_labels"}, NOW, bits(12.47)),
            ({"__name__": "something_weird", "problem": "division by zero"}, 3982045, bits(float("inf"))),
            ({"__name__": "rpc_seconds", "quantile": "0.5"}, NOW, bits(4773.0)),
            ({"__name__": "rpc_seconds", "quantile": "1.0"}, NOW, twin.NORMAL_NAN),
            ({"__name__": "rpc_seconds_sum"}, NOW, bits(1.7560473e07)),
            ({"__name__": "my.name", "größe": "x"}, NOW, bits(1.0)),
        ]
    ]
    assert (scrape.scraped, scrape.kept, scrape.added) == (9, 9, 9)
    assert batch.row_hash.tolist() == hashes(batch).tolist()
    assert batch.metadata == scrape.metadata == [
        Metadata("http_requests_total", "counter", 'Requests, all.\nEven \\these "ones".', ""),
        Metadata("rpc_seconds", "summary", "", ""),
        Metadata("my.name", "gauge", "", ""),
    ]


OPENMETRICS = b"""\
# HELP foo_seconds Time.\\n\\"Quoted\\".
# TYPE foo_seconds counter
# UNIT foo_seconds seconds
foo_seconds_total{a="1"} 17.5 1520879607.789 # {trace="ab\\"c",span="d"} 0.67 1520879606.1239
foo_seconds_total{a="2",} 3 # {} 5
foo_seconds_created{a="1"} 1520872607.123
# TYPE h histogram
h_bucket{le="1"} 0 -1.5
h_bucket{le="+Inf"} 1 # {"x y"="z"} 1 -2
# TYPE s stateset
{"s","s"="on"} 1
# EOF
"""


def test_an_openmetrics_exposition() -> None:
    scrape, batch = parsed(OPENMETRICS, format_=Format.OPENMETRICS)
    assert rows_of(batch) == [
        ({"__name__": "foo_seconds_total", "a": "1"}, [(1520879607789, bits(17.5))]),
        ({"__name__": "foo_seconds_total", "a": "2"}, [(NOW, bits(3.0))]),
        ({"__name__": "foo_seconds_created", "a": "1"}, [(NOW, bits(1520872607.123))]),
        ({"__name__": "h_bucket", "le": "1.0"}, [(-1500, bits(0.0))]),
        ({"__name__": "h_bucket", "le": "+Inf"}, [(NOW, bits(1.0))]),
        ({"__name__": "s", "s": "on"}, [(NOW, bits(1.0))]),
    ]
    assert scrape.metadata == [
        Metadata("foo_seconds", "counter", 'Time.\n"Quoted".', "seconds"),
        Metadata("h", "histogram", "", ""),
        Metadata("s", "stateset", "", ""),
    ]
    assert exemplars_of(OPENMETRICS, scrape.exemplars) == [
        (0, b'{trace="ab\\"c",span="d"}', bits(0.67), 1520879606123), (1, b"{}", bits(5.0), NOW),
        (4, b'{"x y"="z"}', bits(1.0), -2000),
    ]


def exemplars_of(body: bytes, found: Exemplars | None) -> list[tuple[int, bytes, int, int]]:
    """(sample, labels, bits, ms)"""
    if found is None:
        return []
    columns = (found.sample, found.begin, found.length, found.value, found.ts)
    return [(sample, body[begin : begin + length], value, ts)
            for sample, begin, length, value, ts in zip(*(column.tolist() for column in columns), strict=True)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("a 1", {"__name__": "a"}),
        ("a{} 1", {"__name__": "a"}),
        ("a+1", {"__name__": "a"}),
        ("a{}1", {"__name__": "a"}),
        ("a {b=\"c\"} 1", {"__name__": "a", "b": "c"}),
        ("a\t{b=\"c\"} 1", {"__name__": "a", "b": "c"}),
        ("a{b=\"c\" d=\"e\"} 1", {"__name__": "a", "b": "c", "d": "e"}),
        ("a{b=\"\"} 1", {"__name__": "a"}),
        ("{\"a\"} 1", {"__name__": "a"}),
        ("{b=\"c\",\"a\"} 1", {"__name__": "a", "b": "c"}),
        ("{__name__=\"x\"} 1", None),
        ("a{b=\"\\q\\\\n\"} 1", {"__name__": "a", "b": "\\q\\n"}),
        ("a{b=\"two\nlines\"} 1", {"__name__": "a", "b": "two\nlines"}),
        ("a{b=\"}\"} 1", {"__name__": "a", "b": "}"}),
        ("a{b=\"\x00\"} 1", {"__name__": "a", "b": "\x00"}),
        (":a:b 1", {"__name__": ":a:b"}),
        ("a{B=\"1\",_c=\"2\"} 1", {"__name__": "a", "B": "1", "_c": "2"}),
        ("a 1 ", {"__name__": "a"}),
        ("\t a 1", {"__name__": "a"}),
    ],
)
def test_lines(line: str, expected: dict[str, str] | None) -> None:
    if expected is None:
        with pytest.raises(ScrapeRefused):
            parsed(line)
    else:
        wanted = [dict(sorted(expected.items()))]
        assert labels_of(line) == labels_of(line + "\n") == labels_of("\n\n" + line + "\n# x") == wanted


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a", "expected value after metric"),
        ("a{", "expected label name"),
        ("a{b} 1", "expected equal"),
        ("a{b=c} 1", "expected label value"),
        ("a{b='c'} 1", "expected label value"),
        ("a{b=\"c} 1", "end of a quoted text"),
        ("a{b=\"c\\\n\"} 1", "end of a quoted text"),
        ("a{b=\"c\",,} 1", "expected label name"),
        ("a{b:c=\"c\"} 1", "expected equal"),
        ("a{\"b\",\"c\"} 1", "metric name already set"),
        ("a{=\"x\"} 1", "expected label name"),
        ("{\"a\",\"\"=\"x\"} 1", "empty name"),
        ("a{b=\"c\",b=\"d\"} 1", "not unique"),
        ("a{__name__=\"b\"} 1", "not unique"),
        ("{b=\"c\"} 1", "metric name not set"),
        ("{\"\"} 1", "metric name not set"),
        ("9a 1", "expected a valid start token"),
        ("a-b 1", "not a number"),
        ("a true", "not a number"),
        ("a 0x1p-3", "not a number"),
        ("a 1_2", "not a number"),
        ("a +nan", "not a number"),
        ("a 1e", "not a number"),
        ("a .", "not a number"),
        ("a 1\r", "not a number"),
        ("a 1e999", "out of range"),
        ("a 1 2.5", "expected next entry"),
        ("a 1 -5", "timestamp"),
        ("a 1 x", "timestamp"),
        ("a 1 9223372036854775808", "timestamp"),
        ("a 1 99999999999999999999999", "timestamp"),
        ("a 1 1 1", "expected next entry"),
        ("a 1 # {trace=\"x\"} 1", "timestamp"),
        ("a\x00 1", "not a number"),
        ("# TYPE a wrong", "invalid metric type \"wrong\""),
        ("# TYPE a unknown", "invalid metric type"),
        ("# TYPE a  counter", "invalid metric type"),
        ("# TYPE a", "invalid metric type \"\""),
        ("# TYPE ", "expected metric name after TYPE"),
        ("# TYPE # x", "expected metric name after TYPE"),
        ("# HELP \"a x", "expected metric name after HELP"),
        ("a{" + ",".join(f'l{i}="x"' for i in range(1024)) + "} 1", "more than 1024 labels"),
        ("a{b=\"" + "x" * 65536 + "\"} 1", "too long"),
    ],
)
def test_wrong_lines_are_named(line: str, message: str) -> None:
    with pytest.raises(ScrapeRefused, match=rf"^line 3: .*({message})") as caught:
        parsed("good 1\n\n" + line + "\ngood 2\n")
    assert caught.value.scraped - (message in ("not unique", "too long", "empty name", "out of range")) in (0, 1)
    with pytest.raises(ScrapeRefused, match=message):
        parsed(line)
    assert line.split("\n")[0][:20].encode("unicode_escape").decode()[:8] in str(caught.value)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "does not end with # EOF"),
        (b"a 1\n", "does not end with # EOF"),
        (b"a 1", "does not end with # EOF"),
        (b"a 1 # {} 1", "does not end with # EOF"),
        (b"# HELP a b", "does not end with # EOF"),
        (b"a 1\n# EOF\n\n", "unexpected data after # EOF"),
        (b"# EOFx", "unexpected data after # EOF"),
        (b"a 1\n# EOF\na 1\n", "unexpected data after # EOF"),
        (b" a 1\n# EOF", "valid start token"),
        (b"\na 1\n# EOF", "valid start token"),
        (b"# x\n# EOF", "valid start token"),
        (b"#\n# EOF", "valid start token"),
        (b"# HELP a\n# EOF", "expected text in HELP"),
        (b"# TYPE a untyped\n# EOF", "invalid metric type"),
        (b"# TYPE a counter \n# EOF", "invalid metric type"),
        (b"# UNIT a s\n# EOF", 'unit "s" not a suffix of metric "a"'),
        (b"# UNIT s s\n# EOF", "not a suffix"),
        (b'a{b="c", d="e"} 1\n# EOF', "expected label name"),
        (b'a{b="c" } 1\n# EOF', "expected comma or brace close"),
        (b'a{b="c"d="e"} 1\n# EOF', "expected comma or brace close"),
        (b'a{,} 1\n# EOF', "expected label name"),
        (b'a{b="c\nd"} 1\n# EOF', "end of a quoted text"),
        (b'a{b="c"}1\n# EOF', "expected value"),
        (b"a  1\n# EOF", "expected value"),
        (b"a\t1\n# EOF", "expected value"),
        (b"a 1 \n# EOF", "timestamp"),
        (b"a 1 1 \n# EOF", "expected next entry"),
        (b"a 1 1 2\n# EOF", "expected next entry"),
        (b"a 1 inf\n# EOF", "timestamp"),
        (b"a 1 NaN\n# EOF", "timestamp"),
        (b"a 1 1\r\n# EOF", "timestamp"),
        (b'a 1 # {"a"} 1\n# EOF', "expected equal"),
        (b'a 1 # {a="b"}\n# EOF', "exemplar labels"),
        (b'a 1 # {a="b"} x\n# EOF', "exemplar labels"),
        (b'a 1 # {a="b"} 1 nan\n# EOF', "exemplar labels"),
        (b'a 1 # {a="b"} 1 1 1\n# EOF', "expected next entry"),
        (b'a 1 # {a="\xff"} 1\n# EOF', "invalid UTF-8"),
        (b'a 1 # {a="b" } 1\n# EOF', "expected comma or brace close"),
        (b'a 1 # {a="b\n# EOF', "end of a quoted text"),
        (b'a 1 #{a="b"} 1\n# EOF', "timestamp"),
    ],
)
def test_what_openmetrics_is_not(body: bytes, message: str) -> None:
    with pytest.raises(ScrapeRefused, match=message):
        parsed(body, format_=Format.OPENMETRICS)
    with pytest.raises(twin.WrongText):
        twin.parse(body, openmetrics=True)


@pytest.mark.parametrize("raw", [b"a{b=\"\xff\"} 1", b"{\"\xff\"} 1", b"{\"a\",\"\xff\"=\"x\"} 1", b"# HELP a \xff"])
def test_text_that_is_not_utf8(raw: bytes) -> None:
    with pytest.raises(ScrapeRefused, match=r"^line 1: .*UTF-8"):
        parsed(raw)


@pytest.mark.parametrize(
    ("line", "labels", "honor_labels", "expected"),
    [
        ('a{x="1"} 1', {"job": "j"}, False, {"__name__": "a", "job": "j", "x": "1"}),
        ('a{job="own"} 1', {"job": "j"}, False, {"__name__": "a", "exported_job": "own", "job": "j"}),
        ('a{job="own"} 1', {"job": "j"}, True, {"__name__": "a", "job": "own"}),
        ('a{job=""} 1', {"job": "j"}, False, {"__name__": "a", "job": "j"}),
        ('a{job=""} 1', {"job": "j"}, True, {"__name__": "a"}),
        ('a{job="own",exported_job="old"} 1', {"job": "j"}, False,
         {"__name__": "a", "exported_exported_job": "own", "exported_job": "old", "job": "j"}),
        ('a{job="own",exported_job=""} 1', {"job": "j"}, False, {"__name__": "a", "exported_job": "own", "job": "j"}),
        ('a{job="1",exported_job="2"} 1', {"job": "j", "exported_job": "k"}, False,
         {"__name__": "a", "exported_exported_exported_job": "2", "exported_exported_job": "1", "exported_job": "k",
          "job": "j"}),
    ],
)
def test_target_labels(line: str, labels: Target, honor_labels: bool, expected: dict[str, str]) -> None:
    assert labels_of(line, labels, honor_labels) == [expected]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1", "1.0"), ("0", "0.0"), ("-0", "0.0"), ("0.5", "0.5"), ("0.50", "0.5"), ("5.0", "5.0"), ("1e-5", "1e-05"),
     ("0.00001", "1e-05"), ("0.0001", "0.0001"), ("100000", "100000.0"), ("1000000", "1e+06"),
     ("1234567", "1.234567e+06"),
     ("1e21", "1e+21"), ("+Inf", "+Inf"), ("inf", "+Inf"), ("-INF", "-Inf"), ("nan", "NaN"), ("007", "7.0"), ("x", "x"),
     ("9.999999999999999e-10", "9.999999999999999e-10"), ("1_0", "1_0"), (" 1", " 1"), ("-2.50", "-2.5"), ("", ""),
     ("2.5e-1", "0.25"), (".5", "0.5"), ("5.", "5.0"), ("0.0", "0.0"), ("0.10000000000000001", "0.1"),
     ("x" * 100, "x" * 100)],
)
def test_bucket_bounds_are_written_as_in_openmetrics(text: str, expected: str) -> None:
    assert rewritten_bound(text.encode()).decode() == twin.bound_text(text.encode()).decode() == expected
    body = f'x{{le="{text}"}} 1\n# TYPE x histogram\nx_bucket{{le="{text}"}} 1\nx_bucket{{le="1"}} 1\n'
    bounds = [row.get("le", "") for row in labels_of(body + '# TYPE y gauge\ny{le="1"} 1')]
    assert bounds == [text, *([expected] if text != "1" else []), "1.0", "1"] or text == "1"


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (SeriesLimits(label_limit=3), r"label_limit exceeded \(metric: abc, number of labels: 4, limit: 3\)"),
        (SeriesLimits(label_name_length_limit=8),
         r"label_name_length_limit exceeded \(metric: abc, label name: long_name, length: 9, limit: 8\)"),
        (SeriesLimits(label_value_length_limit=3),
         r'label_value_length_limit exceeded \(metric: abc, label name: long_name, value: "1234", length: 4, limit: 3'),
        (SeriesLimits(legacy_names=True),
         r'invalid metric name or label names: \{__name__="abc", job="j", long_name="1234", "ü"="1"\}'),
        (SeriesLimits(sample_limit=1), "^sample limit exceeded$"),
        (SeriesLimits(4, 9, 4, 2), ""),
    ],
)
def test_limits(limits: SeriesLimits, message: str) -> None:
    body = 'ok 1\nabc{long_name="1234","ü"="1"} 2\n'
    if not message:
        assert parsed(body, {"job": "j"}, limits=limits)[0].kept == 2
        return
    with pytest.raises(ScrapeRefused, match=message) as caught:
        parsed(body, {"job": "j"}, limits=limits)
    assert (caught.value.scraped, caught.value.kept) == (2, 2 if limits.sample_limit else 1)


def test_legacy_metric_names() -> None:
    with pytest.raises(ScrapeRefused, match=r'line 1: invalid metric name or label names: \{__name__="a.b"\}'):
        parsed('{"a.b"} 1', limits=SeriesLimits(legacy_names=True))
    assert parsed("a:b 1", limits=SeriesLimits(legacy_names=True))[0].kept == 1


def test_more_of_everything_than_expected() -> None:
    body = "".join(
        f'# TYPE m{i} histogram\nm{i}{{le="{i}e-9"}} 0.1234567890123456{i:03d}\na{i} 1\n' for i in range(1, 600)
    ) + "".join(f"b{i} 1\n" for i in range(10_000)) + f'c{{x="{"y" * 60_000}"}} 1\n'
    _, batch = parsed(body, {"a_long_label_of_the_target": "x" * 300})
    assert batch.samples == 599 * 2 + 10_001
    assert len(batch.metadata) == 599
    assert rows_of(batch)[2][0]["le"] == "2e-09"
    assert int(batch.values[0]) == bits(0.1234567890123456001)


number_texts = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.floats(-1e6, 1e6).map(lambda value: f"{value:.3f}"),
    st.integers(0, 10**22).map(str),
    st.from_regex(r"[+-]?[0-9]{0,20}\.?[0-9]{0,20}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.sampled_from(["9007199254740993", "9007199254740992", "1e22", "1e23", "123e22", "2.2250738585072011e-308"]),
    st.sampled_from(["1e-22", "0e999", "-0", "5e-324", "2.5e-324", "1.7976931348623157e308", "12345678"]),
)


def random_numbers(seed: int, count: int = 4000) -> list[str]:
    """Decimals of any length and exponent; with neighbours of what lies half way between two floats among them."""
    chance = random.Random(seed)
    texts = []
    for _ in range(count):
        digits = str(chance.randrange(10 ** chance.randint(1, 22)))
        point = chance.randint(0, len(digits))
        exponent = chance.choice(("", f"e{chance.randint(-330, 310)}", f"E+{chance.randint(0, 30)}"))
        texts.append(chance.choice(("", "-", "+")) + digits[:point] + "." + digits[point:] + exponent)
        half = (2 * chance.getrandbits(53) + 1) * 2 ** chance.randint(0, 12)
        texts.append(str(half + chance.choice((-1, 0, 1))))
        texts.append(repr(chance.uniform(-1, 1) * 10.0 ** chance.randint(-300, 300)))
    return texts


@pytest.mark.parametrize("seed", range(3))
def test_random_numbers_are_rounded_as_python_does(seed: int) -> None:
    check_numbers(random_numbers(seed))


@settings(max_examples=80, deadline=None)
@given(st.lists(number_texts, min_size=1, max_size=30))
def test_numbers_are_rounded_as_python_does(texts: list[str]) -> None:
    check_numbers(texts)


def check_numbers(texts: list[str]) -> None:
    def good(text: str) -> bool:
        try:
            return abs(float(text)) != float("inf")
        except ValueError:
            return False

    texts = [text for text in texts if good(text)]
    _, batch = parsed("".join(f"a{i} {text}\n" for i, text in enumerate(texts)))
    assert batch.values.tolist() == [bits(float(text)) for text in texts]
    seconds = [text for text in texts if abs(float(text)) < 1e15]
    _, batch = parsed("".join(f"a{i} 1 {text}\n" for i, text in enumerate(seconds)) + "# EOF",
                      format_=Format.OPENMETRICS)
    assert batch.ts.tolist() == [int(float(text) * 1000) for text in seconds]


@pytest.mark.parametrize("text", ["Inf", "+inf", "-iNF", "infinity", "-Infinity", "NaN", "nan", "NAN"])
def test_spellings(text: str) -> None:
    [value] = parsed(f"a {text}")[1].values.tolist()
    if text[0].lower() == "n":
        assert value == twin.NORMAL_NAN
    else:
        assert value == struct.unpack("<Q", struct.pack("<d", float(text)))[0]


def compare(raw: bytes, labels: Target, honor_labels: bool, format_: Format) -> bool:
    """Checks that kernels and twin agree; whether the text is good."""
    try:
        expected = twin.parse(raw, openmetrics=format_ is Format.OPENMETRICS)
    except twin.WrongText:
        with pytest.raises(ScrapeRefused, match=r"^line [0-9]+: "):
            parsed(raw, labels, honor_labels, format_)
        return False
    scrape, batch = parsed(raw, labels, honor_labels, format_)
    assert scrape.scraped == scrape.kept == len(expected)
    seen: set[bytes] = set()
    taken = []
    for sample in expected:
        if sample.ts is not None or sample.text not in seen:
            taken.append(sample)
        seen.add(sample.text)
    assert scrape.repeated == len(expected) - len(taken)
    found = rows_of(batch)
    samples = zip(batch.sample_row.tolist(), batch.ts.tolist(), batch.values.tolist(), strict=True)
    assert [(found[row][0], ts, value) for row, ts, value in samples] == [
        (dict(sorted(twin.merge(sample.labels, labels, honor_labels).items(), key=lambda pair: pair[0].encode())),
         NOW if sample.ts is None else sample.ts, sample.bits)
        for sample in taken
    ]
    assert exemplars_of(raw, scrape.exemplars) == [
        (place, *sample.exemplar[:2], NOW if sample.exemplar[2] is None else sample.exemplar[2])
        for place, sample in enumerate(taken) if sample.exemplar is not None
    ]
    assert batch.row_hash.tolist() == hashes(batch).tolist()
    return True


names = st.sampled_from(["a", "job", "exported_job", "instance", "Zone", "_x", "le"])
values = st.text(st.sampled_from('ab\\"\nn,}{= #é'), max_size=6) | st.text(max_size=4)
targets = st.dictionaries(names, st.sampled_from(["", "t", "u"]), max_size=4)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


@st.composite
def lines(draw: st.DrawFn, openmetrics: bool) -> str:
    pairs = draw(st.dictionaries(names, values, max_size=5))
    inside = [f"{name}={quoted(value)}" for name, value in pairs.items()]
    blank = "" if openmetrics else draw(st.sampled_from(["", " ", "\t "]))
    if draw(st.booleans()):
        start = "metric" + blank
    else:
        start, inside = "", [quoted(draw(values.filter(bool))), *inside]
    comma = draw(st.sampled_from(["", ","])) if inside else ""
    time = draw(st.sampled_from(["", " 1", "" if openmetrics else "\t5 ", " 1790000000000"]))
    content = f"{blank},{blank}".join(inside)
    exemplar = ""
    if openmetrics and draw(st.booleans()):
        exemplar = f" # {{{','.join(f'x{i}={quoted(draw(values))}' for i in range(draw(st.integers(0, 2))))}}} 1.5"
        exemplar += draw(st.sampled_from(["", " 1.25"]))
    return f"{start}{{{blank}{content}{comma}{blank}}}{blank} {draw(number_texts) or 1}{time}{exemplar}\n"


@settings(max_examples=250, deadline=None)
@given(st.lists(lines(openmetrics=False), max_size=5).map("".join), targets, st.booleans())
def test_generated_expositions(text: str, labels: Target, honor_labels: bool) -> None:
    compare(text.encode(), labels, honor_labels, Format.TEXT)


@settings(max_examples=250, deadline=None)
@given(st.lists(lines(openmetrics=True), max_size=5).map("".join), targets, st.booleans())
def test_generated_openmetrics(text: str, labels: Target, honor_labels: bool) -> None:
    compare(text.encode() + b"# EOF\n", labels, honor_labels, Format.OPENMETRICS)


def mutations(rounds: int, seed: int, format_: Format) -> None:
    random_ = random.Random(seed)
    openmetrics = format_ is Format.OPENMETRICS
    source = OPENMETRICS if openmetrics else EXPOSITION
    pieces = [line + b"\n" for line in source.split(b"\n") if line != b"# EOF"]
    good = 0
    for _ in range(rounds):
        raw = bytearray(b"".join(random_.sample(pieces, 4)) + (b"# EOF\n" if openmetrics else b""))
        for _ in range(random_.randint(0, 2)):
            at = random_.randrange(len(raw))
            match random_.randrange(4):
                case 0:
                    raw[at] = random_.choice(b'\x00\n "\\{},=#e+-.09a_\xff\xc3')
                case 1:
                    raw[at] ^= 1 << random_.randrange(8)
                case 2:
                    del raw[at : at + random_.randint(1, 5)]
                case _:
                    raw[at:at] = random_.choice(pieces)[: random_.randint(1, 12)]
        good += compare(bytes(raw), {"job": "j", "code": "t"}, random_.random() < 0.5, format_)
    assert rounds // 10 < good < rounds


@pytest.mark.parametrize("format_", [Format.TEXT, Format.OPENMETRICS])
def test_changed_bytes(format_: Format) -> None:
    mutations(1500, seed=1, format_=format_)


@pytest.mark.slow
@pytest.mark.parametrize("format_", [Format.TEXT, Format.OPENMETRICS])
@pytest.mark.parametrize("seed", range(2, 6))
def test_changed_bytes_for_long(seed: int, format_: Format) -> None:
    mutations(30_000, seed, format_)


@pytest.mark.parametrize(("body", "format_"), [(EXPOSITION, Format.TEXT), (OPENMETRICS, Format.OPENMETRICS)])
def test_bodies_that_are_cut_anywhere(body: bytes, format_: Format) -> None:
    """With a cache that knows every line, too: what is compared in words ends with the body."""
    knowing = target()
    read(knowing, body, format_)
    for end in range(len(body)):
        compare(body[:end], {}, False, format_)
        try:
            whole = parsed(body[:end], format_=format_)[0]
        except ScrapeRefused:
            with pytest.raises(ScrapeRefused):
                knowing.parse(body[:end], format_, NOW)
        else:
            assert knowing.parse(body[:end], format_, NOW).scraped == whole.scraped


def test_a_cache_changes_nothing() -> None:
    """A target that exposes all sorts of broken bodies, in both formats by turns, is read as one seen first. (Bounds
    that are rewritten are left out: what type a series had when it was first seen decides, as in Prometheus.)"""
    random_ = random.Random(3)
    pieces = [line + b"\n" for line in (EXPOSITION + OPENMETRICS).split(b"\n")
              if line != b"# EOF" and b'="1"} 0' not in line and b'="1"} NaN' not in line]
    head, knowing = Head(), target({"job": "j"}, limits=SeriesLimits(sample_limit=6))
    good = 0
    for number in range(1200):
        raw = bytearray(b"".join(random_.choices(pieces, k=random_.randint(0, 8))) + b"# EOF\n")
        if random_.random() < 0.3:
            raw[random_.randrange(len(raw))] = random_.choice(b'\n "\\{},=#e+-.09a_\xff')
        format_ = Format.OPENMETRICS if number // 100 % 2 else Format.TEXT
        ts = NOW + number
        try:
            first, batch = read(target({"job": "j"}, limits=SeriesLimits(sample_limit=6)), bytes(raw), format_, ts)
        except ScrapeRefused as problem:
            with pytest.raises(ScrapeRefused) as caught:
                knowing.parse(bytes(raw), format_, ts)
            assert str(caught.value) == str(problem)
            assert (caught.value.scraped, caught.value.kept) == (problem.scraped, problem.kept)
            knowing.appended(head.append(knowing.batch(None, ts, []))[1])
            continue
        good += 1
        scrape = knowing.parse(bytes(raw), format_, ts)
        assert (scrape.scraped, scrape.kept, scrape.repeated) == (first.scraped, first.kept, first.repeated)
        assert exemplars_of(bytes(raw), scrape.exemplars) == exemplars_of(bytes(raw), first.exemplars)
        again = knowing.batch(scrape, ts, [])
        assert again.values[: batch.samples].tolist() == batch.values.tolist()
        assert again.ts[: batch.samples].tolist() == batch.ts.tolist()
        names = [format_series(row.items()) for row, _ in rows_of(batch)]
        _, appended = head.append(again)
        assert again.known is not None and appended.keyed is not None
        slots = np.concatenate([again.known.slot, appended.keyed.slot]).tolist()
        told = [format_series(labels_of_key(head.series[slots[row]].key).items())
                for row in again.sample_row[: batch.samples].tolist()]
        assert told == [names[row] for row in batch.sample_row.tolist()]
        knowing.appended(appended)
    assert 200 < good < 1000
