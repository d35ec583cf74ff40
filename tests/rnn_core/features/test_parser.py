"""The expression language: how text becomes a graph, and what the errors say.

Oracle for precedence: Python's own parser, because qlib hands the text to it.
"""

from __future__ import annotations

import ast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rnn_core.features import ExpressionError, horizon_of, parse
from rnn_core.features.expression import Call, Field, Number
from rnn_core.features.operators import UNBOUNDED

PYTHON = {
    ast.Add: "Add",
    ast.Sub: "Sub",
    ast.Mult: "Mul",
    ast.Div: "Div",
    ast.Pow: "Power",
    ast.BitAnd: "And",
    ast.BitOr: "Or",
    ast.Gt: "Gt",
    ast.GtE: "Ge",
    ast.Lt: "Lt",
    ast.LtE: "Le",
    ast.Eq: "Eq",
    ast.NotEq: "Ne",
}


def python_reading(node: ast.expr) -> str:
    """What Python makes of the same text, written as calls."""
    if isinstance(node, ast.Name):
        return f"${node.id}"
    if isinstance(node, ast.UnaryOp):
        return f"Mul(-1,{python_reading(node.operand)})"
    if isinstance(node, ast.BinOp):
        name = PYTHON[type(node.op)]
        return f"{name}({python_reading(node.left)},{python_reading(node.right)})"
    assert isinstance(node, ast.Compare)
    name = PYTHON[type(node.ops[0])]
    return f"{name}({python_reading(node.left)},{python_reading(node.comparators[0])})"


def numbers(depth: int) -> st.SearchStrategy[str]:
    """Arithmetic on fields, with and without parentheses."""
    leaf = st.sampled_from(["$a", "$b", "$c"])
    if depth == 0:
        return leaf
    below = numbers(depth - 1)
    pair = st.tuples(below, st.sampled_from(["+", "-", "*", "/", "**"]), below).map(" ".join)
    return st.one_of(leaf, pair, below.map("({})".format), below.map("-{}".format))


@given(st.tuples(numbers(3), st.sampled_from([">", ">=", "<", "<=", "==", "!="]), numbers(3)))
def test_precedence_is_pythons(parts: tuple[str, str, str]) -> None:
    for text in (parts[0], " ".join(parts)):
        expected = python_reading(ast.parse(text.replace("$", ""), mode="eval").body)
        assert str(parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "reading"),
    [
        ("Ref($close, -2)/Ref($close, -1) - 1", "Sub(Div(Ref($close,-2),Ref($close,-1)),1)"),
        ("-$a**2", "Mul(-1,Power($a,2))"),
        ("2**-1*$a", "Mul(0.5,$a)"),
        ("$a**2**3", "Power($a,8)"),
        ("1e-12 + .5*$a", "Add(1e-12,Mul(0.5,$a))"),
        ("Ref($a, 2*5)", "Ref($a,10)"),
        ("($a>1) & ($b<2) | Not($a==$b)", "Or(And(Gt($a,1),Lt($b,2)),Not(Eq($a,$b)))"),
        ("If($a>=$b, $a, -1)", "If(Ge($a,$b),$a,-1)"),
        ("+$a - - 3", "Sub($a,-3)"),
        ("\n  Abs(\n $a )\t", "Abs($a)"),
    ],
)
def test_reading(text: str, reading: str) -> None:
    node = parse(text)
    assert str(node) == reading
    assert parse(reading) == node


@pytest.mark.parametrize(
    ("text", "look_back", "look_ahead"),
    [
        ("$close", 0, 0),
        ("Ref($close, -2)/Ref($close, -1) - 1", 0, 2),
        ("Ref($close, 3) + Ref($open, -1)", 3, 1),
        ("Ref(Ref($close, 3), 4)", 7, 0),
        ("Ref(Ref($close, -2), 1)", 1, 1),
        ("If($a > Ref($b, 9), Ref($a, -5), 0)", 9, 5),
        ("Mean($close, 5)", 4, 0),
        ("Mean($close/Ref($close, 1), 60)", 60, 0),
        ("Corr($close, Ref($volume, 2), 20)", 21, 0),
        ("Ref(Max($high, 5), -5)", 0, 5),
        ("Delta($close, 3)", 3, 0),
        ("Delta($close, -3)", 0, 3),
        ("EMA($close, 0.5)", 26, 0),
        ("IdxMax($high, 5)", 60, 0),
        ("Mean($close > $open, 5)", 60, 0),
        ("Sum($close > $open, 5)", 4, 0),
        ("Mean(Ref($close, 0), 5)", UNBOUNDED, 0),
        ("Mask(Mean($close, 5), 'SH000300')", 4, 0),
    ],
)
def test_reach(text: str, look_back: int, look_ahead: int) -> None:
    node = parse(text)
    assert (node.look_back, node.look_ahead) == (look_back, look_ahead)


def test_nodes_are_hashable_immutable_and_shared() -> None:
    node = parse("Abs($a - $b) / (Abs($a - $b) + 1)")
    assert isinstance(node, Call)
    left, right = node.arguments
    assert isinstance(right, Call)
    assert left is right.arguments[0]
    assert {node: 1}[parse("Abs($a-$b)/(Abs($a-$b)+1)")] == 1
    assert node.fields == {"a", "b"}
    assert Field("a") != Field("b")
    assert Number(2.0) == Number(2)
    with pytest.raises(AttributeError):
        node.name = "Mul"  # type: ignore[misc]


def test_deep_chains_and_nests_are_read_or_refused_never_a_crash() -> None:
    assert parse(" + ".join(["$a"] * 150)).depth == 150
    assert str(parse("(" * 90 + "$a" + ")" * 90)) == "$a"
    with pytest.raises(ExpressionError, match="more than 200 operations deep: split it up"):
        parse(" + ".join(["$a"] * 5000))
    for deep in ("(" * 5000 + "$a", "-" * 5000 + "$a", "Abs(" * 5000 + "$a"):
        with pytest.raises(ExpressionError, match="nested more than 100 deep: split it up"):
            parse(deep)


@pytest.mark.parametrize(
    ("text", "at", "message"),
    [
        ("", 0, "expected a number, a field or an operator, found the end"),
        ("Reff($close, 1)", 0, "unknown operator `Reff`; did you mean `Ref`?"),
        ("$a + Graeter($a, 0)", 5, "unknown operator `Graeter`; did you mean `Greater`?"),
        ("Xyzzy($a)", 0, "unknown operator `Xyzzy`; known: Abs"),
        ("close / 2", 0, "a field is written $close"),
        ("Ref $close", 4, "`Ref` needs its arguments in parentheses"),
        ("Ref($close, 1.5)", 12, "needs a whole number of sessions here (0: the first session"),
        ("Ref($close, $open)", 12, "needs a whole number of sessions here (0: the first session"),
        ("Mean($close, -1)", 13, "needs a window of at least 1 whole sessions here"),
        ("Mean($close, 2.5)", 13, "or 0 < alpha < 1 for exponential weighting"),
        ("Mean($close, $open)", 13, "needs a window of at least 1 whole sessions here"),
        ("Std($close, 0.5)", 12, "whatever the operator: write EMA"),
        ("Skew($close, 2)", 13, "needs a window of at least 3 whole sessions here"),
        ("Kurt($close, 3)", 13, "needs a window of at least 4 whole sessions here"),
        ("Quantile($close, 5, 80)", 20, "needs a share from 0 to 1 here"),
        ("Quantile($close, 5)", 0, "`Quantile` takes 3 arguments, 2 given"),
        ("Corr($close, 5)", 0, "`Corr` takes 3 arguments, 2 given"),
        ("Corr($close, 5, 5)", 13, "needs a series here"),
        ("Men($close, 5)", 0, "did you mean `Mean`?"),
        ("Rsqare($close, 5)", 0, "did you mean `Rsquare`?"),
        ("Mask($close, SH000300)", 13, "a field is written $SH000300"),
        ("Mask($close, 5)", 13, "needs the name of an instrument in quotation marks here"),
        ("Mask($close, 'SH000300)", 13, "the quotation mark is not closed"),
        ("Abs('SH000300')", 4, "needs a series here, as in $close, not a text"),
        ("Ref($close)", 0, "`Ref` takes 2 arguments, 1 given"),
        ("Log($a, 2)", 0, "`Log` takes 1 argument, 2 given"),
        ("Log()", 0, "`Log` takes 1 argument, 0 given"),
        ("Log(2)", 4, "`Log` needs a series here, as in $close"),
        ("Greater(1, 2)*$a", 0, "`Greater` needs at least one argument that is a series"),
        ("Abs($a", 6, "expected `)` for the `(` at character 4, found the end"),
        ("Abs($a,)", 7, "expected a number, a field or an operator, found ')'"),
        ("$a $b", 3, "unexpected '$b' after a complete expression"),
        ("$a > 1 & $b > 2", 5, "because & and | bind more tightly than comparisons"),
        ("1 < $a < 2", 7, "comparisons cannot be chained"),
        ("$a & ($b > 1)", 0, "`And` needs a condition here"),
        ("Not($a)", 4, "`Not` needs a condition here"),
        ("1 + 2", 0, "an expression needs at least one field"),
        ("1/0*$a", 1, "1 / 0 has no value"),
        ("10**400*$a", 2, "10 ** 400 has no value"),
        ("(-8)**0.5*$a", 4, "-8 ** 0.5 is not a real number"),
        ("$$roe", 0, "point-in-time fields ($$name) are not supported: use $name"),
        ("$a // 2", 3, "`//` is not part of the language: use `/`"),
        ("$a = 2", 3, "use `==`"),
        ("~($a > 1)", 0, "use Not(...)"),
        ("$a + $", 5, "a field needs a name, as in $close"),
        ("__import__('os')", 0, "unknown operator `__import__`; known: Abs"),
        ("$a.mean()", 2, "unexpected character '.'"),
    ],
)
def test_errors_point_at_the_character(text: str, at: int, message: str) -> None:
    with pytest.raises(ExpressionError) as caught:
        parse(text)
    assert message in str(caught.value)
    assert caught.value.at == at
    assert str(caught.value).endswith(f"\n  {text}\n  {' ' * at}^")


def test_error_in_a_text_of_several_lines_shows_its_line() -> None:
    with pytest.raises(ExpressionError, match=r"did you mean `Abs`\?\n  \+ Asb\(\$b\)\n    \^$"):
        parse("$a\n+ Asb($b)\n- 1")


@pytest.mark.parametrize(
    ("label", "sessions"),
    [
        ("Ref($close, -2)/Ref($close, -1) - 1", 1),
        ("Ref($close, -21)/Ref($close, -1) - 1", 20),
        ("Ref($close, -5)/$close - 1", 5),
        ("Ref($close, -1)/$close - 1", 1),
        ("Ref($vwap, -6)/Ref($open, -1) - 1", 5),
        # What scales a return by the past does not make it longer.
        ("(Ref($close, -2)/Ref($close, -1) - 1)/Std($close/Ref($close, 1), 20)", 1),
        ("Ref(Ref($close, -6)/Ref($close, -1), 0)", 5),
        ("Ref(Ref($close, -4)/$close, -1)", 4),
        ("$close", 1),
    ],
)
def test_the_horizon_of_a_label(label: str, sessions: int) -> None:
    """By hand: the sessions between the two prices."""
    assert horizon_of(parse(label)) == sessions
