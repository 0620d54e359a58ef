"""Parser of the FHIRPath subset that SQL-on-FHIR's shareable views use: text → syntax tree, or ViewError with the place.

Grammar: https://hl7.org/fhirpath/grammar.html. What stands there and not here is refused by its name.
"""

import re
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from gateway.fhir.errors import ViewError

MAX_DEPTH = 30
MAX_TOKENS = 300
"""Deepest and longest path that is parsed: paths come from strangers, and parser and compiler are recursive."""


@dataclass(frozen=True)
class Literal:
    """A string, number or boolean; `type` is FHIR's name for it."""

    value: str | int | float | bool
    type: str


@dataclass(frozen=True)
class Variable:
    """`%name`."""

    name: str


@dataclass(frozen=True)
class This:
    """`$this`, and what a path starts from when it names nothing."""


@dataclass(frozen=True)
class Member:
    """`base.name`."""

    base: "Expression"
    name: str


@dataclass(frozen=True)
class Call:
    """`base.name(arguments)`."""

    base: "Expression"
    name: str
    arguments: "tuple[Expression, ...]"


@dataclass(frozen=True)
class Index:
    """`base[position]`, counted from 0."""

    base: "Expression"
    position: "Expression"


@dataclass(frozen=True)
class Binary:
    """`left operator right`."""

    operator: str
    left: "Expression"
    right: "Expression"


Expression: TypeAlias = Literal | Variable | This | Member | Call | Index | Binary

_TOKEN = re.compile(
    r"""\s*(?:
      (?P<string>'(?:[^'\\]|\\.)*')
    | (?P<number>\d+(?:\.\d+)?)
    | (?P<variable>%[A-Za-z_][A-Za-z0-9_]*)
    | (?P<this>\$this\b)
    | (?P<name>[A-Za-z_][A-Za-z0-9_]*)
    | (?P<quoted>`[^`\\]*`)
    | (?P<symbol><=|>=|!=|!~|[.,()\[\]=<>+\-*/&|~])
    )""",
    re.VERBOSE,
)
_ESCAPES = {"'": "'", '"': '"', "`": "`", "\\": "\\", "/": "/", "n": "\n", "r": "\r", "t": "\t", "f": "\f"}
_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"or"}),
    frozenset({"and"}),
    frozenset({"=", "!="}),
    frozenset({"<", "<=", ">", ">="}),
    frozenset({"+", "-"}),
    frozenset({"*", "/"}),
)
_UNSUPPORTED = frozenset({"xor", "implies", "in", "contains", "is", "as", "div", "mod", "~", "!~", "&", "|"})


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def parse(path: str) -> Expression:
    """Return the syntax tree of `path`; raise ViewError naming the path, the place and what is not understood there."""
    return _Parser(path).whole()


class _Parser:
    def __init__(self, path: str) -> None:
        self._path = path
        self._tokens = self._tokenise()
        self._next = 0
        self._depth = 0

    def whole(self) -> Expression:
        expression = self._binary(0)
        token = self._peek()
        if token.kind != "end":
            problem = f"the operator {token.text!r} is not supported" if token.text in _UNSUPPORTED else f"{token.text!r} is not expected"
            raise self._error(problem, token.position)
        return expression

    def _tokenise(self) -> list[_Token]:
        tokens, position, end = [], 0, len(self._path.rstrip())
        while position < end:
            found = _TOKEN.match(self._path, position)
            if found is None or found.lastgroup is None:
                position += len(self._path[position:]) - len(self._path[position:].lstrip())
                raise self._error(f"{self._path[position]!r} is not understood", position)
            tokens.append(_Token(found.lastgroup, found[found.lastgroup], found.start(found.lastgroup)))
            position = found.end()
        if len(tokens) > MAX_TOKENS:
            raise self._error(f"has {len(tokens)} parts, more than {MAX_TOKENS}", 0)
        return [*tokens, _Token("end", "the end", end)]

    def _error(self, problem: str, position: int) -> ViewError:
        return ViewError(f"path {self._path!r}: {problem} (character {position + 1})")

    def _peek(self) -> _Token:
        return self._tokens[self._next]

    def _take(self) -> _Token:
        token = self._tokens[self._next]
        self._next += 1
        return token

    def _accept(self, text: str) -> bool:
        token = self._peek()
        if token.kind == "symbol" and token.text == text:
            self._next += 1
            return True
        return False

    def _require(self, text: str) -> None:
        if not self._accept(text):
            token = self._peek()
            raise self._error(f"{text!r} is expected where {token.text!r} stands", token.position)

    def _binary(self, level: int) -> Expression:
        if level == len(_LEVELS):
            return self._unary()
        left = self._binary(level + 1)
        while self._peek().kind in ("symbol", "name") and self._peek().text in _LEVELS[level]:
            operator = self._take().text
            left = Binary(operator, left, self._binary(level + 1))
        return left

    def _unary(self) -> Expression:
        self._depth += 1
        if self._depth > MAX_DEPTH:
            raise self._error(f"nests deeper than {MAX_DEPTH} levels", self._peek().position)
        expression = Binary("-", Literal(0, "integer"), self._unary()) if self._accept("-") else self._steps()
        self._depth -= 1
        return expression

    def _steps(self) -> Expression:
        expression = self._term()
        while True:
            if self._accept("."):
                expression = self._step(expression)
            elif self._accept("["):
                expression = Index(expression, self._binary(0))
                self._require("]")
            else:
                return expression

    def _term(self) -> Expression:
        token = self._peek()
        if token.kind in ("name", "quoted"):
            if token.text in ("true", "false"):
                self._take()
                return Literal(token.text == "true", "boolean")
            return self._step(This())
        self._take()
        match token.kind:
            case "string":
                return Literal(self._unescape(token), "string")
            case "number":
                return Literal(float(token.text), "decimal") if "." in token.text else Literal(int(token.text), "integer")
            case "variable":
                return Variable(token.text[1:])
            case "this":
                return This()
        if token.text == "(":
            expression = self._binary(0)
            self._require(")")
            return expression
        raise self._error(f"{token.text!r} is not expected", token.position)

    def _step(self, base: Expression) -> Expression:
        token = self._take()
        if token.kind == "quoted":
            return Member(base, token.text[1:-1])
        if token.kind != "name":
            raise self._error(f"a name is expected where {token.text!r} stands", token.position)
        if not self._accept("("):
            return Member(base, token.text)
        if self._accept(")"):
            return Call(base, token.text, ())
        arguments = [self._binary(0)]
        while self._accept(","):
            arguments.append(self._binary(0))
        self._require(")")
        return Call(base, token.text, tuple(arguments))

    def _unescape(self, token: _Token) -> str:
        def replace(found: re.Match[str]) -> str:
            if found[1] not in _ESCAPES:
                raise self._error(f"the escape \\{found[1]} is not supported", token.position)
            return _ESCAPES[found[1]]

        return re.sub(r"\\(.)", replace, token.text[1:-1], flags=re.DOTALL)
