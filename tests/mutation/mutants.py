"""Mutants: one small change each to a module's source, made on its syntax tree.

What a program says about itself (docstrings, the meaning of an option, annotations) is left alone.
"""

import ast
import copy
import functools
from collections import Counter
from dataclasses import dataclass

_COMPARISONS = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt,
    ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip
_OPERATORS = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.FloorDiv, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.Pow: ast.Mult,
    ast.BitOr: ast.BitAnd, ast.BitAnd: ast.BitOr, ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Mutant:
    """`where` is the qualified name of the function that it changes, "" for what the module does when it is loaded.

    `number` tells apart those that read alike, in the order of the lines.
    """

    line: int
    where: str
    was: str
    now: str
    tree: ast.Module
    path: tuple
    changed: ast.AST
    number: int = 1

    @property
    def source(self):
        """The whole module with the change."""
        made = copy.deepcopy(self.tree)
        _put(made, self.path, self.changed)
        return ast.unparse(ast.fix_missing_locations(made))

    @property
    def name(self):
        """What it is called in the list of equivalent ones: without its line, which moves."""
        again = f" (number {self.number})" if self.number > 1 else ""
        return f"{self.where or '-'}: {self.was} -> {self.now}{again}"


@functools.cache
def mutants(source):
    """Every mutant of a module, in the order of its lines."""
    tree = ast.parse(source)
    found, alike = [], Counter()
    for path, where in _places(tree):
        original = _at(tree, path)
        for changed in _changes(original):
            ast.fix_missing_locations(ast.copy_location(changed, original))
            reads = where, _short(original), _short(changed)
            alike[reads] += 1
            found.append(Mutant(getattr(original, "lineno", 0), *reads, tree, path, changed, alike[reads]))
    return found


def _short(node):
    return " ".join(ast.unparse(node).split())[:160]


def _places(tree):
    """The path to each node worth changing, and the function it lies in."""

    def walk(node, path, where, within):
        for name, value in ast.iter_fields(node):
            if name in ("annotation", "returns", "decorator_list", "type_comment"):
                continue
            for number, child in enumerate(value) if isinstance(value, list) else [(None, value)]:
                if not isinstance(child, ast.AST):
                    continue
                here = (*path, (name, number))
                if name == "body" and number == 0 and _is_docstring(child):
                    continue
                if isinstance(child, ast.Expr) and isinstance(child.value, ast.Constant):
                    continue  # what stands below an attribute, for readers
                if isinstance(child, ast.Import | ast.ImportFrom) or _is_list_of_names(child):
                    continue
                if (
                    isinstance(node, ast.Call)
                    and getattr(node.func, "id", "") == "option"
                    and (name, number) == ("args", 1)
                ):
                    continue
                inside = where
                if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) and not within:
                    inside = f"{where}{child.name}"
                elif isinstance(child, ast.ClassDef) and not within:
                    inside = f"{where}{child.name}."
                function = within or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                # Defaults are computed when the function is made, not when it is called.
                of_module = isinstance(node, ast.arguments) and name in ("defaults", "kw_defaults")
                yield here, "" if of_module or not function else inside
                yield from walk(child, here, inside, function)

    yield from walk(tree, (), "", False)


def _is_docstring(node):
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_list_of_names(node):
    return isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"


def _at(tree, path):
    for name, number in path:
        tree = getattr(tree, name) if number is None else getattr(tree, name)[number]
    return tree


def _put(tree, path, node):
    holder, (name, number) = _at(tree, path[:-1]), path[-1]
    if number is None:
        setattr(holder, name, node)
    else:
        getattr(holder, name)[number] = node


def _changes(node):
    """What one node could be instead."""
    match node:
        case ast.Compare(ops=[op]) if type(op) in _COMPARISONS:
            yield _with(node, ops=[_COMPARISONS[type(op)]()])
        case ast.Compare(ops=[first, second], comparators=[a, b]):
            yield _with(node, ops=[_COMPARISONS[type(first)](), second], comparators=[a, b])
            yield _with(node, ops=[first, _COMPARISONS[type(second)]()], comparators=[a, b])
        case ast.BoolOp(op=op, values=values):
            yield _with(node, op=ast.Or() if isinstance(op, ast.And) else ast.And())
            if len(values) > 2:
                yield from (_with(node, values=values[:n] + values[n + 1 :]) for n in range(len(values)))
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            yield operand
        case ast.BinOp(op=op) if type(op) in _OPERATORS:
            yield _with(node, op=_OPERATORS[type(op)]())
        case ast.AugAssign(op=op) if type(op) in _OPERATORS:
            yield _with(node, op=_OPERATORS[type(op)]())
            yield ast.Assign(targets=[node.target], value=node.value)
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Constant(value=str(value)) if value:
            yield ast.Constant(f"XX{value}XX")
        case ast.Constant(value=str()):
            yield ast.Constant("XX")
        case ast.Constant(value=bytes(value)):
            yield ast.Constant(b"XX" + value + b"XX" if value else b"XX")
        case ast.IfExp(test=test):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.If(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare | ast.UnaryOp):
            yield _with(node, test=ast.UnaryOp(ast.Not(), test))
        case ast.Return(value=value) if value is not None and not _is_none(value):
            yield ast.Return(ast.Constant(None))
        case ast.Assign(value=value) if not _is_none(value):
            yield _with(node, value=ast.Constant(None))
        case ast.Break():
            yield ast.Continue()
        case ast.Continue():
            yield ast.Break()
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield ast.Pass()
        case ast.Raise():
            yield ast.Pass()


def _is_none(node):
    return isinstance(node, ast.Constant) and node.value is None


def _with(node, **fields):
    made = copy.copy(node)
    for name, value in fields.items():
        setattr(made, name, value)
    return made
