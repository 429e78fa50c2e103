"""Matchers against a plain reading of their meaning, over base and delta."""

from __future__ import annotations

import itertools
import re
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import re2
from hypothesis import example, given
from hypothesis import strategies as st

from tests.storage.batches import make_batch
from tsdb.model.errors import BadData
from tsdb.model.labels import labels_of_key
from tsdb.model.matchers import Matcher, MatchType
from tsdb.storage.head.head import Head
from tsdb.storage.head.index import Index
from tsdb.storage.head.windows import Windows
from tsdb.storage.regexes import Texts, ValueFilter
from tsdb.storage.regexes.forms import literal_prefix, simple_form
from tsdb.wal.files import LocalFileSystem

names = st.sampled_from(["__name__", "job", "a", "é", "missing"])
values = st.sampled_from(["", "x", "y", "xy", "api", "api-1", "web\nline", "été", "a.b", "aXb"])
patterns = st.sampled_from(
    ["", ".*", ".+", "x", "x|y", "api.*", ".*1", ".+p.*", "a.b", r"a\.b", "x|", "(?i)API", "[xy]+", ".*line", "é.*",
     "()", "(x|y)?", "[^x]+", r"\w+", "x.+", ".+x", "(x|y|api.*)", "(?:a(b|p)i?-?)?", "[a-cx]y?", "^api$|^x.*$",
     "x|.+y", r"api\-1|x\|", "(api|web).*", ".*", "()|.+", "x{1,2}", "api-[12]", "a.*b", "(?i:API).*", "(?s).*",
     "a?.?b", r"\d*|x\b.*", "[a-c-x]*"]
)
matchers = st.one_of(
    st.builds(Matcher, st.sampled_from([MatchType.EQUAL, MatchType.NOT_EQUAL]), names, values),
    st.builds(Matcher, st.sampled_from([MatchType.REGEX, MatchType.NOT_REGEX]), names, patterns),
)
label_sets = st.dictionaries(names.filter(lambda name: name != "missing"), values, max_size=4)


def as_texts(texts: list[str]) -> Texts:
    data = [text.encode() for text in texts]
    length = np.array([len(each) for each in data], np.int64)
    return Texts(np.frombuffer(b"".join(data) + bytes(8), np.uint8), np.cumsum(length) - length, length)


def quiet() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    return options


def satisfies(labels: dict[str, str], matcher: Matcher) -> bool:
    value = labels.get(matcher.name, "")
    if matcher.regex:
        found = re.fullmatch(matcher.value, value, re.DOTALL | re.ASCII) is not None
    else:
        found = value == matcher.value
    return found != matcher.negative


@given(st.lists(label_sets, max_size=30), st.lists(matchers, min_size=1, max_size=4), st.integers(0, 30))
def test_select(series: list[dict[str, str]], wanted: list[Matcher], in_base: int) -> None:
    head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
    index = Index(head.table)
    made = [{name: value for name, value in labels.items() if value} for labels in series]
    for part in (made[:in_base], made[in_base:]):
        index.refresh(force=True)
        batch = make_batch(head.table.secret, part, [])
        rows, _ = head.table.resolve(batch)
        head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
        index.select(wanted)  # so that what is kept for a matcher must be brought up to date
    slots = index.select(wanted)
    found = [labels_of_key(head.table.key(slot)) for slot in slots.tolist()]
    distinct = {tuple(sorted(labels.items())) for labels in made}
    expected = {labels for labels in distinct if all(satisfies(dict(labels), matcher) for matcher in wanted)}
    assert {tuple(sorted(labels.items())) for labels in found} == expected
    assert len(found) == len(expected)
    again = slots.tolist()
    slots[:] = 0  # the caller's own
    assert index.select(wanted).tolist() == again


@given(st.lists(st.one_of(values, st.text("xyapi-b1AX.é\n|", max_size=6)), max_size=50), patterns)
def test_many_values_at_once(texts: list[str], pattern: str) -> None:
    for kind in (MatchType.REGEX, MatchType.NOT_REGEX):
        matcher = Matcher(kind, "n", pattern)
        tested = ValueFilter(matcher)
        satisfying = [satisfies({"n": text}, matcher) for text in texts]
        assert tested.among(as_texts(texts)).tolist() == [tested.matches(text) for text in texts] == satisfying
        if tested.all_non_empty is not None:
            assert all(found == tested.all_non_empty for text, found in zip(texts, satisfying, strict=True) if text)


parts = st.sampled_from(["a", "b", r"\.", ".*", ".+", ".", "x|", "|", "(a|b)", "(?:ab|)", "[ab]", "[a-c]", "[-a]",
                         "?", "*", "+", "{2}", "^", "$", "(", ")", "[^a]", "(?i)", r"\d", "(?m)", r"\A", "é", "-", "]",
                         "\n"])


@given(st.lists(parts, max_size=7).map("".join))
@example("a(?i)?")
@example("ab(?i)*|b")
def test_regexes_that_need_no_engine(pattern: str) -> None:
    try:
        engine = re2.compile(f"(?s:{pattern})", quiet())
    except re2.error:
        with pytest.raises(BadData):
            ValueFilter(Matcher(MatchType.REGEX, "n", pattern))
        return
    tested = ValueFilter(Matcher(MatchType.REGEX, "n", pattern))
    texts = ["".join(each) for length in range(4) for each in itertools.product("ab.x\n", repeat=length)]
    texts += ["é", "aéb", "-"]
    expected = [engine.fullmatch(text) is not None for text in texts]
    assert [tested.matches(text) for text in texts] == expected
    assert tested.among(as_texts(texts)).tolist() == expected
    lines = [(text, found) for text, found in zip(texts, expected, strict=True) if "\n" not in text]
    assert tested.among(as_texts([text for text, _ in lines])).tolist() == [found for _, found in lines]


@pytest.mark.parametrize(
    ("pattern", "form"),
    [
        ("a|b", [(-1, "a", -1), (-1, "b", -1)]),
        (r"(host-1\.example\.net:9100|host\-2)", [(-1, "host-1.example.net:9100", -1), (-1, "host-2", -1)]),
        ("^api-(1|2)$", [(-1, "api-1", -1), (-1, "api-2", -1)]),
        ("web-[0-2]?", [(-1, "web-0", -1), (-1, "web-1", -1), (-1, "web-2", -1), (-1, "web-", -1)]),
        ("foo.*", [(-1, "foo", 0)]),
        (".+foo", [(1, "foo", -1)]),
        (".*(a|b).+", [(0, "a", 1), (0, "b", 1)]),
        ("(foo.*|bar)", [(-1, "foo", 0), (-1, "bar", -1)]),
        ("", [(-1, "", -1)]),
        ("[0-9]+", None),
        ("a.b", None),
        ("(?i)a", None),
        (r"\d", None),
    ],
)
def test_forms(pattern: str, form: list[tuple[int, str, int]] | None) -> None:
    found = simple_form(pattern)
    assert (None if found is None else [(each.before, each.text, each.after) for each in found]) == form


def test_a_long_alternation_as_templates_make_it() -> None:
    hosts = [f"host-{i}.example.net:9100" for i in range(5000)]
    pattern = "(" + "|".join(host.replace(".", r"\.") for host in hosts) + ")"
    assert ValueFilter(Matcher(MatchType.REGEX, "instance", pattern)).literals == hosts


@pytest.mark.parametrize(
    ("pattern", "prefix"),
    [("host-0[1-3].*", "host-0"), (r"a\.b.c", "a.b"), ("ab*", "a"), ("ab+", "ab"), ("(a)b", ""), ("foox[1]|foo", "foo"),
     ("host-1.*|host-2[0-9]", "host-"), ("a[|]b", "a"), ("ab(c|d)+|b", ""), (r"ab\||abc.", "ab"), ("ab[]|]c|x.y", ""),
     ("^ab.$", "ab"), ("(?i)ab", ""), (r"ab\d", "ab")],
)
def test_prefixes(pattern: str, prefix: str) -> None:
    assert literal_prefix(pattern) == prefix


@pytest.mark.parametrize("pattern", ["(", "*", r"\C", "[b-a]", "a{1001}"])
def test_bad_regexes_are_bad_data(pattern: str) -> None:
    with pytest.raises(BadData, match=r"regexp|regular expression"):
        ValueFilter(Matcher(MatchType.REGEX, "n", pattern))


def test_a_regex_that_is_exponential_elsewhere() -> None:
    texts = ["a" * 40 + "!"] * 100
    assert not ValueFilter(Matcher(MatchType.REGEX, "n", "(a+)+b")).among(as_texts(texts)).any()


@pytest.fixture
def eager_threads() -> Iterator[None]:
    """Threads take turns every 10 us instead of 5 ms: what can go wrong between two lines does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def test_readers_and_refreshes_while_series_are_added(eager_threads: None) -> None:
    """Only the appender adds; everybody else reads counts that move, and never finds a series twice or one too far."""
    head = Head(Windows(LocalFileSystem(), Path("/nowhere"), read_only=True))
    index = Index(head.table)
    done = threading.Event()
    wrong: list[str] = []

    def watch(look: Callable[[int], None]) -> threading.Thread:
        def loop() -> None:
            for turn in itertools.count():
                if done.is_set():
                    return
                try:
                    look(turn)
                except Exception as problem:  # noqa: BLE001 - whatever it is, it is told below
                    wrong.append(repr(problem))
                    return

        thread = threading.Thread(target=loop)
        thread.start()
        return thread

    def select(turn: int) -> None:
        for matcher in (Matcher(MatchType.REGEX, "host", ".+"), Matcher(MatchType.EQUAL, "job", "x"),
                        Matcher(MatchType.EQUAL, "host", f"h{head.table.size // 5 + turn % 7}")):
            found = index.select([matcher])
            assert (np.diff(found) > 0).all(), f"{matcher}: a slot twice"
            assert found.size <= head.table.size

    threads = [watch(select), watch(select), watch(lambda _: index.refresh(force=True))]
    for k in range(400):
        series = [{"__name__": f"m{i}", "job": "x", f"label_{k}": "1", "host": f"h{k}"} for i in range(5)]
        batch = make_batch(head.table.secret, series, [])
        rows, _ = head.table.resolve(batch)
        head.table.create(batch.row_hash, batch.keys, batch.row_offset, batch.row_length, rows)
    done.set()
    for thread in threads:
        thread.join(60)
    assert not wrong
    assert index.select([Matcher(MatchType.EQUAL, "job", "x")]).size == 2000
    assert index.select([Matcher(MatchType.REGEX, "host", ".+")]).size == 2000
