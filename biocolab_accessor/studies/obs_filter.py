"""Filter: conditions on metadata fields, in the spelling of pandas' ``DataFrame.query``, which are never executed."""

from __future__ import annotations

import ast
import math
import operator
import re
import sys
import warnings
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import lru_cache, reduce
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from pandas.api.types import is_bool_dtype

from biocolab_accessor.errors import InvalidFilter, UnknownField
from biocolab_accessor.messages import did_you_mean, listing, quoted, warn

# Python's parser and the functions below recurse: these limits end a hostile text early.
_MOST_CHARACTERS, _MOST_LEVELS = 10_000, 50
_MOST_SHOWN = 60

_Compare = Callable[[Any, Any], Any]
_Rows = Callable[[pd.DataFrame], Any]  # from fields to a Series of bool, or of boolean where Int64 has no value

_COMPARISONS: dict[type[ast.cmpop], _Compare] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_MIRRORED = {operator.lt: operator.gt, operator.le: operator.ge, operator.gt: operator.lt, operator.ge: operator.le}
_MEMBERSHIP = {ast.In: operator.eq, ast.NotIn: operator.ne}
_EQUALITY = (operator.eq, operator.ne)
_SIGNS = {operator.lt: "<", operator.le: "<=", operator.gt: ">", operator.ge: ">="}
_MISSING = {"isna": True, "notna": False}
_UNASSIGNED = "Unassigned"
_TOKENS = re.compile(r"""'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"|`[^`]*`|.""", re.DOTALL)  # quoted, or one character
_WORDS = {"&": " and ", "|": " or "}
_REFUSED = {
    "@": "variables are not read: write the value itself",
    "#": "a comment is not allowed here",
    "\\": "a backslash is only allowed inside quotes",
    ";": "a filter is one expression: join conditions with and",
}
_EXAMPLE = "write conditions such as phase == 'S', n_genes > 200 or cell_type in ['B', 'T'], joined by and, or, not"


class _Field(NamedTuple):
    name: str
    start: int


class _Literal(NamedTuple):
    value: Any  # of `in` a list of literals
    start: int


class _Label(NamedTuple):
    """A text that the labels of a field are compared with."""

    field: str
    value: str
    start: int


class _Clause(NamedTuple):
    """A condition, its place in the text, and the conditions that it joins."""

    rows: _Rows
    start: int
    end: int
    parts: tuple[_Clause, ...] = ()


class ObsFilter(NamedTuple):
    """A parsed filter."""

    text: str
    fields: Mapping[str, int]  # each with its first position
    labels: tuple[_Label, ...]
    root: _Clause

    @classmethod
    def of(cls, text: Any) -> ObsFilter:
        """Check and parse a filter; InvalidFilter says where it is wrong."""
        if not isinstance(text, str):
            msg = f"obs_filter is of type {type(text).__name__}: {_EXAMPLE}"
            raise InvalidFilter(msg)
        if not text.strip():
            msg = f"obs_filter is empty: {_EXAMPLE}, or give None for all cells"
            raise InvalidFilter(msg)
        if len(text) > _MOST_CHARACTERS:
            msg = (
                f"obs_filter has {len(text):,} characters, more than {_MOST_CHARACTERS:,}: write a shorter one, "
                "or give the barcodes with cells="
            )
            raise InvalidFilter(msg)
        return _parsed(str(text))

    def expect_fields(self, known: Sequence[str], study_id: str) -> None:
        """Raise UnknownField if the study lacks a field of the filter."""
        for name, start in self.fields.items():
            if name not in known:
                near = did_you_mean(name, known)
                has = f"It has {listing(known)}; genes cannot be in a filter"
                why = f"study {quoted(study_id)} has no metadata field {quoted(name)}{near}. {has}"
                raise UnknownField(_message(self.text, start, why))

    def fields_of_labels(self, known: Mapping[str, Collection[str]]) -> list[str]:
        """Fields that are compared with a label that is not known yet."""
        return list(dict.fromkeys(name for name, label, _ in self.labels if label not in known.get(name, ())))

    def expect_labels(self, known: Mapping[str, Collection[str]]) -> None:
        """Raise InvalidFilter if a field is compared with a label that is not among its known ones."""
        for name, label, start in self.labels:
            if name in known and label not in known[name]:
                near = did_you_mean(label, known[name])
                why = f"field {quoted(name)} has no label {quoted(label):.80}{near}. It has {listing(known[name])}"
                raise InvalidFilter(_message(self.text, start, why))

    def mask(self, columns: pd.DataFrame) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Whether the condition holds, for each cell."""
        return _truth(self.root.rows(columns))

    def counts(self, columns: pd.DataFrame) -> list[tuple[str, int]]:
        """Each clause, and the number of cells for which it holds by itself."""
        return [(self.text[c.start : c.end], int(_truth(c.rows(columns)).sum())) for c in _clauses(self.root)]


def labels_of(columns: pd.DataFrame) -> dict[str, list[str]]:
    """The labels of each field that holds labels."""
    return {str(name): list(each.cat.categories) for name, each in columns.items() if kind_of(each) == "labels"}


@lru_cache(64)
def _parsed(text: str) -> ObsFilter:
    return _Parser(text).parsed()


class _Parser:
    """Turns the text into Python's syntax, and the syntax tree into clauses, if every node is an allowed one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.fields: dict[str, int] = {}
        self.labels: list[_Label] = []
        self.code, self.origin, self.quoted = _python(text)
        self.bytes = None  # where each character begins, if ast's offsets differ from indices
        if not self.code.isascii():
            self.bytes = np.cumsum([0, *(len(c.encode("utf-8", "replace")) for c in self.code)])

    def parsed(self) -> ObsFilter:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of an invalid escape in a label
                tree = ast.parse(self.code, mode="eval")
        except SyntaxError as error:
            raise self._error(self._origin((error.offset or 1) - 1), f"{error.msg}: {_EXAMPLE}") from error
        except (ValueError, MemoryError, RecursionError) as error:  # a null or half a character, or deep nesting
            why = "it has a character that is not text" if isinstance(error, ValueError) else "it is nested too deeply"
            raise self._error(0, f"{why}: {_EXAMPLE}") from error
        root = self._clause(tree.body, 0)
        return ObsFilter(self.text, self.fields, tuple(self.labels), root)

    def _clause(self, node: ast.expr, level: int) -> _Clause:
        start, end = self._span(node)
        if level > _MOST_LEVELS:
            raise self._error(start, f"it is nested too deeply: {_EXAMPLE}")
        if isinstance(node, ast.BoolOp):
            parts = tuple(self._clause(value, level + 1) for value in node.values)
            join = operator.and_ if isinstance(node.op, ast.And) else operator.or_
            return _Clause(lambda columns: reduce(join, (part.rows(columns) for part in parts)), start, end, parts)
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.Invert):
            inner = self._clause(node.operand, level + 1)
            return _Clause(lambda columns: ~inner.rows(columns), start, end)
        if isinstance(node, ast.Compare):
            operands = [self._operand(each) for each in (node.left, *node.comparators)]
            steps = [self._comparison(op, *pair) for op, pair in zip(node.ops, pairwise(operands), strict=True)]
            return _Clause(lambda columns: reduce(operator.and_, (step(columns) for step in steps)), start, end)
        if isinstance(node, ast.Call):
            return _Clause(self._missing(node), start, end)
        if isinstance(node, ast.Name):
            return _Clause(self._bare(self._field(node)), start, end)
        raise self._error(start, f"{_named(node)} is not a condition: {_EXAMPLE}")

    def _operand(self, node: ast.expr) -> _Field | _Literal:
        start, _ = self._span(node)
        if isinstance(node, ast.Name):
            return self._field(node)
        if isinstance(node, ast.List | ast.Tuple | ast.Set):
            return _Literal([_Literal(self._value(each), self._span(each)[0]) for each in node.elts], start)
        return _Literal(self._value(node), start)

    def _value(self, node: ast.expr) -> Any:
        if isinstance(node, ast.Constant):
            if isinstance(node.value, str | bool | int | float):
                return _comparable(node.value)
            if node.value is None:
                raise self._error(self._span(node)[0], "None is not a value: write field.isna() for missing values")
        elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
            value = node.operand.value if isinstance(node.operand, ast.Constant) else None
            if isinstance(value, int | float) and not isinstance(value, bool):
                return -_comparable(value) if isinstance(node.op, ast.USub) else _comparable(value)
        why = f"{_named(node)} is not allowed here: compare a field with text in quotes, a number, True or False"
        if isinstance(node, ast.Attribute):
            why = "a dot is not allowed here: write a name with a dot in backticks, `percent.mt` < 5"
        raise self._error(self._span(node)[0], why)

    def _field(self, node: ast.Name) -> _Field:
        start, end = self._span(node)
        # Not node.id, in which Python has normalized some letters.
        name = self.quoted.get(self._index(node.col_offset)) or self.text[start:end]
        self.fields.setdefault(name, start)
        return _Field(name, start)

    def _comparison(self, op: ast.cmpop, left: _Field | _Literal, right: _Field | _Literal) -> _Rows:
        compare = _COMPARISONS.get(type(op)) or _MEMBERSHIP.get(type(op))
        if compare is None:
            raise self._error(left.start, "is is not a comparison: write ==, !=, field.isna() or field.notna()")
        if isinstance(left, _Literal):
            if isinstance(right, _Literal):
                raise self._error(left.start, f"this compares no field: {_EXAMPLE}")
            if type(op) in _MEMBERSHIP or isinstance(left.value, list):
                raise self._error(left.start, "the field comes first: write field in ['a', 'b']")
            left, right, compare = right, left, _MIRRORED.get(compare, compare)
        several = isinstance(right, _Literal) and isinstance(right.value, list)
        if several and compare not in _EQUALITY:
            raise self._error(right.start, "a list can only be compared by in or not in")
        if type(op) in _MEMBERSHIP and not several:
            raise self._error(right.start, "write a list of values after in: field in ['a', 'b']")
        field, other = left, right
        if isinstance(other, _Literal) and compare in _EQUALITY:
            literals = other.value if isinstance(other.value, list) else [other]
            texts = [each for each in literals if isinstance(each.value, str)]
            self.labels += [_Label(field.name, each.value, each.start) for each in texts]

        def rows(columns: pd.DataFrame) -> Any:
            if isinstance(other, _Field):
                return self._compared_fields(columns, field, other, compare)
            if not isinstance(other.value, list):
                return self._compared(columns, field, other, compare)
            found = self._in(columns, field, other.value)
            return found if compare is operator.eq else ~found

        return rows

    def _in(self, columns: pd.DataFrame, field: _Field, literals: Sequence[_Literal]) -> Any:
        """Where a field equals one of the values; as by Series.isin, missing values do not."""
        column = columns[field.name]
        kind = kind_of(column)
        for literal in literals:
            self._expect_kind(field, literal, kind)
        if not literals or not kind:
            return pd.Series(False, column.index)
        values = {literal.value: None for literal in literals}
        if kind == "numbers" and column.dtype.kind == "f":  # in its own precision, as by ==
            with np.errstate(over="ignore"):
                return column.isin(np.array(list(values), column.to_numpy().dtype))
        if kind == "numbers":
            limits = np.iinfo(getattr(column.dtype, "numpy_dtype", column.dtype))
            whole = [int(value) for value in values if limits.min <= value <= limits.max and value == int(value)]
            return column.isin(np.array(whole, limits.dtype))
        return column.isin(list(values))

    def _compared(self, columns: pd.DataFrame, field: _Field, literal: _Literal, compare: _Compare) -> Any:
        column, value = columns[field.name], literal.value
        kind = kind_of(column)
        self._expect_kind(field, literal, kind)
        if not kind:  # all values are missing, so any value compares as a number would
            return compare(pd.Series(np.nan, column.index), 0)
        self._expect_comparable(field, kind, compare, value)
        with np.errstate(over="ignore"):  # of a number that float32 cannot hold
            return compare(column, value)

    def _expect_kind(self, field: _Field, literal: _Literal, kind: str) -> None:
        """Raise InvalidFilter unless a value can be compared with a field of this kind."""
        value, name = literal.value, quoted(field.name)
        given = "labels" if isinstance(value, str) else "truth" if isinstance(value, bool) else "numbers"
        if kind and kind != given:
            remedy = {
                "labels": f"write it in quotes, {quoted(str(value))}",
                "numbers": "write a number",
                "truth": "write True or False",
            }
            why = f"field {name} holds {_KINDS[kind]}, but {quoted(value):.80} is {_GIVEN[given]}: {remedy[kind]}"
            raise self._error(literal.start, why)

    def _compared_fields(self, columns: pd.DataFrame, field: _Field, other: _Field, compare: _Compare) -> Any:
        left, right = (columns[each.name] for each in (field, other))
        kinds = [kind_of(left), kind_of(right)]
        if "" in kinds:
            return compare(pd.Series(np.nan, left.index), 0)
        if kinds[0] != kinds[1]:
            first, second = (
                f"{quoted(each.name)} holds {_KINDS[kind]}" for each, kind in zip((field, other), kinds, strict=True)
            )
            raise self._error(other.start, f"field {first}, but {second}: compare fields of one kind")
        self._expect_comparable(field, kinds[0], compare)
        if kinds[0] == "labels":
            left, right = left.astype(object), right.astype(object)
        return compare(left, right)

    def _expect_comparable(self, field: _Field, kind: str, compare: _Compare, value: Any = None) -> None:
        if kind != "numbers" and compare not in _EQUALITY:
            why = f"field {quoted(field.name)} holds {_KINDS[kind]}, which have no order: write ==, != or in"
            raise self._error(field.start, why, line=_line_for_dates(field.name, compare, value))

    def _missing(self, node: ast.Call) -> _Rows:
        """``field.isna()`` or ``isna(field)``, the only calls."""
        function, arguments = node.func, node.args
        if isinstance(function, ast.Attribute):
            name, operands = function.attr, [function.value, *arguments]
        else:
            name, operands = function.id if isinstance(function, ast.Name) else "", arguments
        if name not in _MISSING or node.keywords or len(operands) != 1 or not isinstance(operands[0], ast.Name):
            why = "only isna and notna can be called: write field.isna() or field.notna()"
            raise self._error(self._span(node)[0], why)
        field = self._field(operands[0])

        def rows(columns: pd.DataFrame) -> Any:
            column = columns[field.name]
            missing = column.isna()
            if kind_of(column) == "labels" and _UNASSIGNED in column.cat.categories and not missing.any():
                warn(
                    f"field {quoted(field.name)} has no missing labels, but the label {quoted(_UNASSIGNED)}, which "
                    f"BioFlex gives to cells without one: compare with == {quoted(_UNASSIGNED)}"
                )
            return missing == _MISSING[name]

        return rows

    def _bare(self, field: _Field) -> _Rows:
        """A field that is a condition by itself."""

        def rows(columns: pd.DataFrame) -> Any:
            column = columns[field.name]
            kind = kind_of(column)
            if kind not in ("truth", ""):
                text = kind == "labels" and set(column.cat.categories) <= {"True", "False"}
                example = "compare with == 'True'" if text else _EXAMPLE
                why = f"field {quoted(field.name)} holds {_KINDS[kind]}, not True or False: {example}"
                raise self._error(field.start, why)
            return column if kind else pd.Series(False, column.index)

        return rows

    def _span(self, node: ast.expr) -> tuple[int, int]:
        """Start and end of a node in the text."""
        last = self._origin(self._index(node.end_col_offset or 0) - 1)
        return self._origin(self._index(node.col_offset)), last + 1

    def _index(self, n_bytes: int) -> int:
        """Index of a character in the code from ast's offset in bytes."""
        return n_bytes if self.bytes is None else int(np.searchsorted(self.bytes, n_bytes))

    def _origin(self, index: int) -> int:
        return self.origin[min(max(index, 0), len(self.origin) - 1)]

    def _error(self, start: int, why: str, line: str = "") -> InvalidFilter:
        return InvalidFilter(_message(self.text, start, why), line=line)


_KINDS = {"labels": "labels", "numbers": "numbers", "truth": "True and False"}
_GIVEN = {"labels": "text", "numbers": "a number", "truth": "True or False"}
_NODES = {
    ast.Call: "a call",
    ast.Attribute: "an attribute",
    ast.Subscript: "an index in brackets",
    ast.BinOp: "arithmetic",
    ast.Lambda: "a function",
    ast.IfExp: "an if",
    ast.NamedExpr: "an assignment",
    ast.JoinedStr: "an f-string",
    ast.Dict: "a dict",
    ast.List: "a list",
    ast.Tuple: "a list",
    ast.Set: "a set",
    ast.Constant: "a value",
    ast.Compare: "a comparison",
    ast.BoolOp: "a condition",
    ast.Name: "a field",
}


def _named(node: ast.expr) -> str:
    return _NODES.get(type(node), "this")


def _line_for_dates(name: str, compare: _Compare, value: Any) -> str:
    """A line that selects cells by a date, which servers hold as text; empty unless the value is a date."""
    if not (isinstance(value, str) and re.match(r"\d{4}-\d\d", value)):
        return ""
    sign = _SIGNS[compare]
    dates = f"pd.to_datetime({{study}}.metadata({name!r})[{name!r}])"
    return f"dates = {dates}; {{study}}.to_anndata(cells=dates.index[dates {sign} {value!r}])"


def _comparable(value: Any) -> Any:
    """The value, or infinity in place of an integer that no number of a field can reach."""
    return math.inf if isinstance(value, int) and value > sys.float_info.max else value


def kind_of(column: pd.Series) -> str:
    """``"labels"``, ``"truth"`` or ``"numbers"``; empty if all values are missing."""
    if column.isna().all():
        return ""
    if isinstance(column.dtype, pd.CategoricalDtype):
        return "labels"
    return "truth" if is_bool_dtype(column.dtype) else "numbers"


def _truth(found: pd.Series) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Where a condition holds; a missing answer, of Int64 and UInt64, is no."""
    return found.to_numpy(bool) if isinstance(found.dtype, np.dtype) else found.fillna(False).to_numpy(bool)


def _clauses(clause: _Clause) -> Iterator[_Clause]:
    """The conditions that and and or join."""
    if not clause.parts:
        yield clause
    for part in clause.parts:
        yield from _clauses(part)


def _message(text: str, start: int, why: str) -> str:
    """What is wrong, the column, and the part of the text around it with a caret."""
    first = max(0, start - _MOST_SHOWN // 2)
    part = "".join(c if c.isprintable() else " " for c in text[first : first + _MOST_SHOWN])
    before, after = "…" if first else "", "…" if first + _MOST_SHOWN < len(text) else ""
    return f"obs_filter, column {start + 1}: {why}\n  {before}{part}{after}\n  {' ' * (len(before) + start - first)}^"


def _python(text: str) -> tuple[str, list[int], dict[int, str]]:
    """The text in Python's syntax, the place of each of its characters, and the names that were in backticks."""
    code: list[str] = []
    origin: list[int] = []
    names: dict[int, str] = {}

    def put(characters: str, places: Sequence[int]) -> None:
        code.extend(characters)
        origin.extend(places)

    for found in _TOKENS.finditer(text, len(text) - len(text.lstrip())):
        token, at, last = found[0], found.start(), found.end() - 1
        if token in ("'", '"', "`"):
            raise InvalidFilter(_message(text, at, f"this {token} is not closed: {_EXAMPLE}"))
        if token == "``":
            raise InvalidFilter(_message(text, at, "the backticks are empty: write a field between them"))
        if token in _REFUSED:
            raise InvalidFilter(_message(text, at, _REFUSED[token]))
        if token[0] == "`":
            if code:  # at the beginning, Python would take a blank for an indented line
                put(" ", [at])
            names[len(code)] = token[1:-1]
            put("xx ", [at, last, last])
        elif token in _WORDS:
            put(_WORDS[token], [at] * len(_WORDS[token]))
        else:
            put(" " if token.isspace() else token, range(at, last + 1))
    return "".join(code), origin, names
