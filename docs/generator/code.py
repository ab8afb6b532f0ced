"""What can be imported: `harness.testing`, `harness.types` and the exports of `analysis`."""

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from types import ModuleType

import analysis
from docs.generator import choices
from harness import protocols, testing, types
from harness.manual import meanings

# What `harness.types` offers from elsewhere.
TAKEN_OVER = {"harness.types": ("harness.prompts", "harness.maths.tensor_ops")}


def python() -> str:
    """The page: examples that run, then each name with its docstring."""
    parts = ["# In Python", choices.written_part("python"), "## analysis"]
    parts += [_function(f"analysis.{name}", getattr(analysis, name)) for name in analysis.__all__]
    for module in (testing, types, protocols):
        parts += [f"## {module.__name__}", (inspect.getdoc(module) or "").partition("\n")[0]]
        parts += [_class(name, cls) for name, cls in _own(module).items()]
    return "\n\n".join(parts)


def _own(module: ModuleType) -> dict[str, type]:
    """Public classes that a module defines, in its order; `types` those it takes over as well."""
    homes = {module.__name__, *TAKEN_OVER.get(module.__name__, ())}
    return {
        name: thing
        for name, thing in vars(module).items()
        if inspect.isclass(thing) and thing.__module__ in homes and name[0] != "_"
    }


def _function(name: str, thing: object) -> str:
    """How a function is called and what its docstring says; a class as the classes below."""
    if inspect.isclass(thing):
        return _class(name, thing)
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(thing))).body  # type: ignore[arg-type]
    assert isinstance(tree, ast.FunctionDef)
    returns = f" -> {ast.unparse(tree.returns)}" if tree.returns else ""
    call = f"{tree.name}({ast.unparse(tree.args)}){returns}"
    wrapped = "\n".join(textwrap.wrap(call, 90, subsequent_indent="    "))
    doc = _sections(inspect.getdoc(thing) or "")
    return f"### {name}\n\n```python\n{wrapped}\n```\n\n{doc}"


def _class(name: str, cls: type) -> str:
    """A class: what it is, its fields with their meanings, its methods."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    assert isinstance(tree, ast.ClassDef)
    members = list(_members(tree, cls))
    rows = [f"| `{member}` | {choices.cell(text)} |" for member, text in members]
    table = "\n".join(["| member | what it is |", "|---|---|", *rows]) if rows else ""
    if not any(text for _, text in members):  # of an enumeration, whose docstring has said it
        table = ", ".join(f"`{member}`" for member, _ in members)
    about = (inspect.getdoc(cls) or "").partition("Attributes:")[0].strip()
    return "\n\n".join(part for part in (f"### {name}", _sections(about), table) if part)


def _members(tree: ast.ClassDef, cls: type) -> Iterator[tuple[str, str]]:
    """(as it is written, meaning) of fields and public methods."""
    said = meanings(cls)
    for node, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            kind = ast.unparse(node.annotation)
            yield f"{node.target.id}: {kind}", said.get(node.target.id) or _text(following)
        elif isinstance(node, ast.Assign):
            yield ast.unparse(node), _text(following)
        elif isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            plain = [ast.unparse(each) for each in node.decorator_list]
            call = "" if "property" in plain else f"({ast.unparse(node.args)})"
            yield f"{node.name}{call}", (ast.get_docstring(node) or "").partition("\n\n")[0]


def _text(node: ast.stmt | None) -> str:
    """The string that stands below a field."""
    value = node.value if isinstance(node, ast.Expr) else None
    return str(value.value) if isinstance(value, ast.Constant) else ""


def _sections(doc: str) -> str:
    """`Args:` and its like as lists, an example as code; what names nothing stays a paragraph."""

    def listed(found: re.Match[str]) -> str:
        text = textwrap.dedent(found[2])
        if found[1] == "Example":
            code = re.sub(r"^(>>>|\.\.\.) ", "", text.rstrip(), flags=re.MULTILINE)
            return f"```python\n{code}\n```\n"
        entries = re.sub(r"^(\w[\w, ]*): ", r"- `\1`: ", text, flags=re.MULTILINE)
        return f"**{found[1]}**\n\n{entries}"

    sections = r"^(Example|Args|Returns|Raises):\n((?: {4}.*\n?)+)"
    return re.sub(sections, listed, doc, flags=re.MULTILINE)
