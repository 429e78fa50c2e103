"""Splits PromQL into the tokens of grammar.lark."""

from __future__ import annotations

from collections.abc import Iterator
from copy import copy
from typing import Final

from lark.common import LexerConf
from lark.lexer import BasicLexer, Lexer, LexerState, Token

from tsdb.promql.syntax.typed import Problem, start_of

MAX_TOKENS: Final = 20_000
"""Much more than anybody writes, and little enough to be refused within a second."""

_BLANK: Final = frozenset({"SPACE", "COMMENT"})
_IN_BRACES: Final = _BLANK | {"IDENTIFIER", "STRING", "MATCH", "COMMA", "RIGHT_BRACE"}
_IN_BRACKETS: Final = _BLANK | {
    *("NUMBER", "DURATION", "DURATION_OF", "CHOICE", "SIGN", "TIMES", "POWER"),
    *("LEFT_PAREN", "RIGHT_PAREN", "COMMA", "COLON", "RIGHT_BRACKET"),
}
_NOT_ELSEWHERE: Final = frozenset({"COLON", "MATCH", "RIGHT_BRACE"})


class PromQLLexer(Lexer):
    """Lark's own lexer, with other terminals inside ``{…}``, where keywords are plain names, and inside ``[…]``, where
    a colon separates range and step while elsewhere it belongs to names."""

    __future_interface__ = 2

    def __init__(self, conf: LexerConf) -> None:
        everything = {terminal.name for terminal in conf.terminals}
        self._elsewhere = _lexer_of(conf, everything - _NOT_ELSEWHERE)
        self._after = {
            "LEFT_BRACE": _lexer_of(conf, _IN_BRACES),
            "LEFT_BRACKET": _lexer_of(conf, _IN_BRACKETS),
            "RIGHT_BRACE": self._elsewhere,
            "RIGHT_BRACKET": self._elsewhere,
        }

    def lex(self, lexer_state: LexerState, parser_state: object) -> Iterator[Token]:
        lexer = self._elsewhere
        after = self._after
        try:
            for _ in range(MAX_TOKENS):
                token = lexer.next_token(lexer_state, parser_state)
                yield token
                lexer = after.get(token.type, lexer)
            token = lexer.next_token(lexer_state, parser_state)
        except EOFError:
            return
        raise Problem(start_of(token), f"expression has more than {MAX_TOKENS} words and signs")


def _lexer_of(conf: LexerConf, names: frozenset[str] | set[str]) -> BasicLexer:
    part = copy(conf)
    part.terminals = [terminal for terminal in conf.terminals if terminal.name in names]
    return BasicLexer(part)
