"""Set order: finds where a program looks at the order of a set, read off the syntax tree.

The order of a set of strings or bytes depends on PYTHONHASHSEED, that of a set of objects on memory
addresses. Where it shows, in a message, a task that is cancelled first, a row, a digest, a run
cannot be repeated. `findings` names each such place in a program that is given as its files.

An expression is a set if it is written as one, made by `set` or a set operator, or declared as one:
by the annotation of a name, parameter, attribute, result or type alias of any of the files. An
attribute that two classes of other files declare differently is taken for no set. What comes out of
an untyped library is not seen, nor is a set that is handed to a parameter of a wider type.

Allowed are what cannot show an order (`in`, `len`, operators, `any`, `all`, `sum`, another set) and
what makes one (`sorted`, `min`, `max`, all three without a key, since elements of equal keys stay
in the order of the set).
"""

import ast
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

SETS = frozenset({"AbstractSet", "FrozenSet", "MutableSet", "Set", "WeakSet", "frozenset", "set"})
MAPPINGS = frozenset({"Mapping", "MutableMapping", "OrderedDict", "defaultdict", "dict"})
WRAPPERS = frozenset({"Annotated", "Awaitable", "ClassVar", "Final", "Future", "Optional", "Task"})
ORDERLESS = frozenset({"all", "any", "frozenset", "len", "max", "min", "set", "sorted", "sum"})
"""Calls that give the same whatever the order of what they read."""
SET_METHODS = frozenset({"difference", "intersection", "symmetric_difference", "union"})
SET_READERS = SET_METHODS | {
    "difference_update",
    "intersection_update",
    "isdisjoint",
    "issubset",
    "issuperset",
    "symmetric_difference_update",
    "update",
}
ORDER_TAKERS = frozenset(
    {
        *("Counter", "OrderedDict", "accumulate", "bytearray", "bytes", "chain", "deque", "dict"),
        *("enumerate", "extend", "extendleft", "executemany", "filter", "format", "from_iterable"),
        *("fromkeys", "islice", "iter", "join", "list", "map", "pairwise", "print", "reduce"),
        *("repr", "str", "tuple", "writelines", "zip"),
    }
)
"""Functions and methods that keep the order of what they read."""

A_SET = ast.Name("set")


@dataclass(frozen=True, slots=True)
class Finding:
    """`expression` is what has an order that it should not have."""

    line: int
    expression: str


@dataclass
class Declared:
    """What all files say about their names. Annotations are expressions; None is one unknown."""

    aliases: dict[str, ast.expr] = field(default_factory=dict)
    attributes: dict[str, list[tuple[str, str, ast.expr | None]]] = field(default_factory=dict)
    """Name -> file, class and annotation of every class that has it."""
    results: dict[str, list[tuple[str, ast.expr | None]]] = field(default_factory=dict)
    """Name of a function or method -> file and annotation of every one that has it."""

    def is_set(self, found: ast.expr | None) -> bool:
        match self.plain(found):
            case ast.BinOp(left=left, right=right):
                return self.is_set(left) or self.is_set(right)
            case ast.Subscript(value=kind):
                return last_name(kind) in SETS
            case ast.Name() | ast.Attribute() as name:
                return last_name(name) in SETS
        return False

    def plain(self, found: ast.expr | None) -> ast.expr | None:
        """An annotation without quotes, aliases and wrappers."""
        match found:
            case ast.Constant(value=str(text)):
                return self.plain(ast.parse(text, mode="eval").body)
            case ast.Name(id=name) if name in self.aliases:
                return self.plain(self.aliases[name])
            case ast.Subscript(value=kind, slice=inner) if last_name(kind) in WRAPPERS:
                return self.plain(inner.elts[0] if isinstance(inner, ast.Tuple) else inner)
        return found

    def parts(self, found: ast.expr | None) -> tuple[str, list[ast.expr]]:
        """`dict[a, b]` as ("dict", [a, b]); of a union, the first that has parts."""
        match self.plain(found):
            case ast.BinOp(left=left, right=right):
                return next((p for p in map(self.parts, (left, right)) if p[1]), ("", []))
            case ast.Subscript(value=kind, slice=ast.Tuple(elts=inner)):
                return last_name(kind), inner
            case ast.Subscript(value=kind, slice=inner):
                return last_name(kind), [inner]
        return "", []

    def element(self, found: ast.expr | None) -> ast.expr | None:
        """What iterating gives."""
        kind, inner = self.parts(found)
        return inner[0] if inner and kind not in SETS else None

    def value(self, found: ast.expr | None) -> ast.expr | None:
        """What looking up gives."""
        kind, inner = self.parts(found)
        return inner[-1] if kind in MAPPINGS else self.element(found)

    def result(self, file: str, name: str) -> ast.expr | None:
        all_of_it = self.results.get(name, [])
        return self._agreed([a for f, a in all_of_it if f == file], [a for _, a in all_of_it])

    def attribute(self, file: str, owner: str, name: str) -> ast.expr | None:
        """`owner` is the class whose `self` is asked, or empty."""
        declared = self.attributes.get(name, [])
        ours = [a for f, o, a in declared if f == file and o == owner]
        here = ours or [a for f, _, a in declared if f == file]
        return self._agreed(here, [a for _, _, a in declared])

    def _agreed(
        self, here: list[ast.expr | None], everywhere: list[ast.expr | None]
    ) -> ast.expr | None:
        """One declaration of this file counts; of other files, all must say the same."""
        candidates = here or everywhere
        telling = [a for a in candidates if a is not None and self._tells(a)]
        if not telling or (not here and len(telling) < len(candidates)):
            return None
        return telling[0]

    def _tells(self, found: ast.expr) -> bool:
        """Whether there is a set anywhere in it."""
        plain = self.plain(found) or found
        return any(
            last_name(node) in SETS or (isinstance(node, ast.Name) and node.id in self.aliases)
            for node in ast.walk(plain)
            if isinstance(node, ast.Name | ast.Attribute)
        )


def findings(files: Mapping[str, ast.Module]) -> dict[str, list[Finding]]:
    """Every place that shows the order of a set, by file; files without one are left out."""
    declared = Declared()
    for file, tree in files.items():
        _declare(declared, file, tree)
    found = {}
    for file, tree in files.items():
        reader = _Reader(declared, file, tree)
        reader.visit(tree)
        if reader.found:
            found[file] = reader.found
    return found


def last_name(node: ast.AST) -> str:
    match node:
        case ast.Name(id=name) | ast.Attribute(attr=name):
            return name
    return ""


def _declare(declared: Declared, file: str, tree: ast.Module) -> None:
    for node in tree.body:
        match node:
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if name[:1].isupper():
                if isinstance(value, ast.Subscript | ast.BinOp):
                    declared.aliases[name] = value
    for owner in ast.walk(tree):
        if isinstance(owner, ast.FunctionDef | ast.AsyncFunctionDef):
            declared.results.setdefault(owner.name, []).append((file, owner.returns))
        if not isinstance(owner, ast.ClassDef):
            continue
        for name, found in _attributes(owner):
            declared.attributes.setdefault(name, []).append((file, owner.name, found))


def _attributes(owner: ast.ClassDef) -> Iterator[tuple[str, ast.expr | None]]:
    """The fields and properties of a class, and what its methods assign to `self`."""
    for node in owner.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=found):
                yield name, found
            case ast.FunctionDef(name=name, returns=found, decorator_list=marks) if any(
                last_name(mark) in ("property", "cached_property") for mark in marks
            ):
                yield name, found
    for method in owner.body:
        if isinstance(method, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from _assigned_to_self(method)


def _assigned_to_self(
    method: ast.FunctionDef | ast.AsyncFunctionDef,
) -> Iterator[tuple[str, ast.expr | None]]:
    given = _parameters(method)
    for node in ast.walk(method):
        match node:
            case ast.AnnAssign(target=ast.Attribute(ast.Name("self"), name), annotation=found):
                yield name, found
            case ast.Assign([ast.Attribute(ast.Name("self"), name)], value):
                match value:
                    case ast.Set() | ast.SetComp() | ast.Call(ast.Name("set" | "frozenset")):
                        yield name, A_SET
                    case ast.Name(source) if source in given:
                        yield name, given[source]
                    case ast.Attribute(attr=source) if source == name:
                        pass  # What the other one is, this one is.
                    case _:
                        yield name, None


def _parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> dict[str, ast.expr]:
    arguments = function.args
    given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    return {each.arg: each.annotation for each in given if each.annotation is not None}


class _Reader(ast.NodeVisitor):
    """Walks one file, and knows in every function which of its names are sets."""

    def __init__(self, declared: Declared, file: str, tree: ast.Module) -> None:
        self.found: list[Finding] = []
        self._declared = declared
        self._file = file
        self._owner = ""
        self._scopes: list[dict[str, ast.expr]] = [{}]
        self._parents = {
            child: parent for parent in ast.walk(tree) for child in ast.iter_child_nodes(parent)
        }
        self._bind(tree)

    # Where an order shows ----------------------------------------------------------------------

    def visit_For(self, node: ast.For) -> None:
        self._look(node.iter)
        self.generic_visit(node)

    def _visit_comprehension(self, node: ast.ListComp | ast.GeneratorExp | ast.DictComp) -> None:
        if not self._goes_into_something_orderless(node):
            for generator in node.generators:
                self._look(generator.iter)
        self.generic_visit(node)

    visit_ListComp = visit_GeneratorExp = visit_DictComp = _visit_comprehension  # noqa: N815

    def visit_Starred(self, node: ast.Starred) -> None:
        if isinstance(node.ctx, ast.Load) and not isinstance(self._parents[node], ast.Set):
            self._look(node.value)
        self.generic_visit(node)

    def visit_YieldFrom(self, node: ast.YieldFrom) -> None:
        self._look(node.value)
        self.generic_visit(node)

    def visit_FormattedValue(self, node: ast.FormattedValue) -> None:
        self._look(node.value)
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        if isinstance(node.op, ast.Add):
            self._look(node.value)
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        for target in node.targets:
            # Of a set of one, the one is what it is.
            if isinstance(target, ast.Tuple | ast.List) and (
                len(target.elts) > 1 or isinstance(target.elts[0], ast.Starred)
            ):
                self._look(node.value)
        self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> None:
        name = last_name(node.func)
        if name in ORDER_TAKERS:
            for argument in node.args:
                self._look(argument)
                if name == "from_iterable" and self._is_set(
                    self._declared.element(self._kind(argument))
                ):
                    self._note(argument)
        elif name in ("sorted", "min", "max") and _has_key(node):
            if any(self._is_set(self._kind(argument)) for argument in node.args):
                self._note(node)
        elif name == "pop" and isinstance(node.func, ast.Attribute) and not node.args:
            self._look(node.func.value)
        self.generic_visit(node)

    def _goes_into_something_orderless(self, node: ast.expr) -> bool:
        match self._parents.get(node):
            case ast.Call(func=ast.Name(id="sum"), args=args):
                return args == [node]  # With a start of its own, a sum may join lists.
            case ast.Call(func=ast.Name(id=name), args=args) as call:
                return name in ORDERLESS and node in args and not _has_key(call)
            case ast.Call(func=ast.Attribute(value=receiver, attr=name)):
                return name in SET_READERS and self._is_set(self._kind(receiver))
        return False

    def _look(self, node: ast.expr) -> None:
        if self._is_set(self._kind(node)):
            self._note(node)

    def _note(self, node: ast.expr) -> None:
        self.found.append(Finding(node.lineno, ast.unparse(node)))

    # What is a set -----------------------------------------------------------------------------

    def _is_set(self, kind: ast.expr | None) -> bool:
        return self._declared.is_set(kind)

    def _kind(self, node: ast.expr) -> ast.expr | None:
        """The annotation that an expression would have, as far as it is known and matters."""
        match node:
            case ast.Set() | ast.SetComp():
                return A_SET
            case ast.Name(id=name):
                return next((s[name] for s in reversed(self._scopes) if name in s), None)
            case ast.Attribute(value=ast.Name(id="self"), attr=name):
                return self._declared.attribute(self._file, self._owner, name)
            case ast.Attribute(attr=name):
                return self._declared.attribute(self._file, "", name)
            case ast.Subscript(value=value):
                return self._declared.value(self._kind(value))
            case ast.Call():
                return self._kind_of_call(node)
        return self._kind_of_compound(node)

    def _kind_of_compound(self, node: ast.expr) -> ast.expr | None:
        match node:
            case ast.BinOp(left=left, op=ast.BitOr() | ast.BitAnd() | ast.BitXor() | ast.Sub()):
                is_set = any(
                    _is_view(side) or self._look_is_set(side) for side in (left, node.right)
                )
                return A_SET if is_set else None
            case ast.IfExp(body=one, orelse=other) | ast.BoolOp(values=[one, other]):
                return A_SET if self._look_is_set(one) or self._look_is_set(other) else None
            case ast.NamedExpr(value=value) | ast.Await(value=value):
                return self._kind(value)
        return None

    def _look_is_set(self, node: ast.expr) -> bool:
        return self._is_set(self._kind(node))

    def _kind_of_call(self, node: ast.Call) -> ast.expr | None:
        declared, name = self._declared, last_name(node.func)
        if name in ("set", "frozenset", "all_tasks") or name in SET_METHODS:
            return A_SET
        if ast.unparse(node.func) == "asyncio.wait":
            return _generic("tuple", A_SET, A_SET)
        if not isinstance(node.func, ast.Attribute):
            return declared.result(self._file, name)
        receiver = self._kind(node.func.value)
        if name == "copy":
            return receiver
        kind, inner = declared.parts(receiver)
        if kind in MAPPINGS and len(inner) == 2:
            match name:
                case "get" | "pop" | "setdefault":
                    return inner[1]
                case "values":
                    return _generic("list", inner[1])
                case "items":
                    return _generic("list", _generic("tuple", *inner))
        return declared.result(self._file, name)

    # Functions and their names -----------------------------------------------------------------

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        outer, self._owner = self._owner, node.name
        self.generic_visit(node)
        self._owner = outer

    def _visit_function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        self._scopes.append(_parameters(node))
        self._bind(node)
        self.generic_visit(node)
        self._scopes.pop()

    visit_FunctionDef = visit_AsyncFunctionDef = _visit_function  # noqa: N815

    def _bind(self, owner: ast.AST) -> None:
        """Learn what the names of a scope hold; twice, as some depend on later ones."""
        for node in [*_own_nodes(owner)] * 2:
            match node:
                case ast.AnnAssign(target=ast.Name(id=name), annotation=found):
                    self._scopes[-1].setdefault(name, found)
                case ast.Assign(targets=targets, value=value):
                    for target in targets:
                        self._take(target, self._kind(value))
                case ast.NamedExpr(target=target, value=value):
                    self._take(target, self._kind(value))
                case ast.For(target=target, iter=source):
                    self._take(target, self._declared.element(self._kind(source)))
                case ast.comprehension(target=target, iter=source):
                    self._take(target, self._declared.element(self._kind(source)))

    def _take(self, target: ast.expr, kind: ast.expr | None) -> None:
        match target:
            case ast.Name(id=name) if kind is not None:
                # One assignment of a set is enough, whatever else the name holds elsewhere.
                if not self._is_set(self._scopes[-1].get(name)):
                    self._scopes[-1][name] = kind
            case ast.Tuple(elts=targets):
                name, inner = self._declared.parts(kind)
                if name == "tuple" and len(inner) == len(targets):
                    for each, part in zip(targets, inner, strict=True):
                        self._take(each, part)


def _own_nodes(owner: ast.AST) -> Iterator[ast.AST]:
    """Everything in a scope, in order, without the functions and classes inside."""
    for node in ast.iter_child_nodes(owner):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
            continue
        yield node
        yield from _own_nodes(node)


def _generic(name: str, *inner: ast.expr) -> ast.expr:
    return ast.Subscript(ast.Name(name), ast.Tuple([*inner]) if len(inner) > 1 else inner[0])


def _has_key(call: ast.Call) -> bool:
    return any(keyword.arg == "key" for keyword in call.keywords)


def _is_view(node: ast.expr) -> bool:
    match node:
        case ast.Call(func=ast.Attribute(attr="keys" | "items"), args=[]):
            return True
    return False
