"""What code means, by content: a digest of every module that some modules are made of.

The digest is of the syntax tree without comments, layout and docstrings, in a form of our own:
`ast.unparse` and `ast.dump` write the same tree differently from one Python to the next.

Nothing is imported. `importlib.util.find_spec("a.b")` runs `a`, so only top-level names are asked
of `sys.meta_path` (that is where editable installs sit); what is below them is looked for in the
folders that the package above is found in, as the import system would. A name that is put together
while the program runs (`import_module(f"{package}.{name}")`) is not seen.
"""

import ast
import hashlib
import importlib
import pkgutil
import site
import sys
import sysconfig
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cache, lru_cache
from importlib.machinery import SOURCE_SUFFIXES, ModuleSpec
from itertools import groupby
from pathlib import Path
from typing import Any

from harness.errors import ConfigError

# Fields of a tree that say how something was written, or that its place says already.
SPELLING = {"kind", "type_comment", "type_ignores", "ctx"}
# Sources whose meaning is kept in this process; more than any core and plug-in have.
KEPT = 4096


@dataclass(frozen=True)
class Import:
    """One import statement: `from ..module import names` has level 2."""

    level: int
    module: str
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Meaning:
    """What a source says: sha256 of its tree, and what it imports."""

    digest: str
    imports: tuple[Import, ...] = ()


def modules(roots: Iterable[str], without: Iterable[str] = ()) -> dict[str, str]:
    """The modules that some modules are made of.

    These are the roots, the packages that they lie in, and all that they import, at whatever depth
    and wherever in a function, of the roots' own top-level packages. Modules that lie beside a root
    outside of any package count as its own; those of an installed library's folder do not.

    Args:
        roots: dotted names of modules.
        without: dotted names of modules and packages that are left out with what only they import.

    Returns:
        Dotted name -> sha256: of the meaning of a Python source, of the bytes of anything else.

    Raises:
        ConfigError: a root is not to be found.
    """
    importlib.invalidate_caches()  # files may have appeared since the folders were listed
    search = _Search(tuple(without))
    found: dict[str, str] = {}
    seen, waiting = set[str](), list(dict.fromkeys(roots))
    for root in waiting:
        search.own(root)
    while waiting:
        name = waiting.pop()
        for module in _on_the_way(name):
            spec = search.find(module)
            if module in seen or spec is None or search.left_out(module):
                continue
            seen.add(module)
            meaning = _meaning(spec)
            if meaning is not None:
                found[module] = meaning.digest
                waiting += [n for n in search.imported(spec, meaning) if search.follows(n)]
    return dict(sorted(found.items()))


def _on_the_way(name: str) -> list[str]:
    """a, a.b and a.b.c: importing the last runs all of them."""
    parts = name.split(".")
    return [".".join(parts[:end]) for end in range(1, len(parts) + 1)]


@dataclass
class _Search:
    """Where modules are, and which of them belong to the roots."""

    without: tuple[str, ...]
    found: dict[str, ModuleSpec | None] = field(default_factory=dict)
    tops: set[str] = field(default_factory=set)
    """Top-level packages of the roots."""
    homes: set[str] = field(default_factory=set)
    """Folders that these lie in, but for those of installed libraries."""

    def own(self, root: str) -> None:
        """Take in a root.

        Raises:
            ConfigError: there is no such module.
        """
        if self.find(root) is None:
            raise ConfigError(
                f"the code of module {root!r} is not to be found, so no record could say what ran; "
                f"put it into a file that Python finds from where the command is started, or mend "
                f"the key that names it (_target_, task.grader, reward.function)"
            )
        top = root.partition(".")[0]
        self.tops.add(top)
        self.homes |= _homes(self.find(top)) - _library_folders()

    def follows(self, name: str) -> bool:
        """Whether a name that is imported belongs to the roots."""
        top = name.partition(".")[0]
        return top in self.tops or not self.homes.isdisjoint(_homes(self.find(top)))

    def left_out(self, name: str) -> bool:
        return any(name == other or name.startswith(f"{other}.") for other in self.without)

    def imported(self, spec: ModuleSpec, meaning: Meaning) -> Iterator[str]:
        """Dotted names of what a module imports; some may be functions or classes."""
        is_package = spec.submodule_search_locations is not None
        package = spec.name.split(".") if is_package else spec.name.split(".")[:-1]
        for each in meaning.imports:
            above = package[: len(package) - each.level + 1] if each.level else []
            base = ".".join([*above, *([each.module] if each.module else [])])
            if not base:
                continue
            yield base
            for name in each.names:
                if name == "*":  # what `__all__` names may be modules
                    folders = getattr(self.find(base), "submodule_search_locations", None) or ()
                    inner = pkgutil.iter_modules(list(folders))
                    yield from (f"{base}.{module.name}" for module in inner)
                else:
                    yield f"{base}.{name}"

    def find(self, name: str) -> ModuleSpec | None:
        """Where a module is; None if there is none of that name."""
        if name not in self.found:
            above = name.rpartition(".")[0]
            if not above:
                self.found[name] = _top(name)
            else:
                package = self.find(above)
                folders = package.submodule_search_locations if package else None
                self.found[name] = _within(folders or (), name)
        return self.found[name]


def _top(name: str) -> ModuleSpec | None:
    for finder in sys.meta_path:
        spec = finder.find_spec(name, None) if name else None
        if spec is not None:
            return spec
    return None


def _within(folders: Iterable[str], name: str) -> ModuleSpec | None:
    """A module below a package that was found in these folders."""
    portions: list[str] = []
    for folder in folders:
        finder: Any = pkgutil.get_importer(folder)
        spec: ModuleSpec | None = finder.find_spec(name) if finder is not None else None
        if spec is not None and spec.loader is not None:
            return spec
        portions += (spec.submodule_search_locations or []) if spec is not None else []
    if not portions:
        return None
    namespace = ModuleSpec(name, None, is_package=True)
    namespace.submodule_search_locations = portions
    return namespace


def _homes(spec: ModuleSpec | None) -> set[str]:
    """Folders that a top-level module or package lies in."""
    if spec is None:
        return set()
    single = [spec.origin] if spec.has_location and spec.origin else []
    return {str(Path(p).resolve().parent) for p in spec.submodule_search_locations or single}


@cache
def _library_folders() -> set[str]:
    """Where Python's own modules and what was installed lie: all sorts, side by side."""
    paths = sysconfig.get_paths()
    own = [paths[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")]
    installed = [*site.getsitepackages(), site.getusersitepackages()]
    return {str(Path(folder).resolve()) for folder in own + installed}


def _meaning(spec: ModuleSpec) -> Meaning | None:
    """What a module says; None for a folder without code."""
    if not spec.has_location:
        inside = spec.origin in ("built-in", "frozen")
        return Meaning(_sha256(sys.version.encode())) if inside else None
    loader: Any = spec.loader
    data: bytes = loader.get_data(spec.origin)
    is_source = str(spec.origin).endswith(tuple(SOURCE_SUFFIXES))
    return _read(data) if is_source else Meaning(_sha256(data))


@lru_cache(maxsize=KEPT)
def _read(source: bytes) -> Meaning:
    """The meaning of a source; one that is no Python, or too deep to be read, is its bytes."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of other people's escapes in strings
            tree = ast.parse(source)
        return Meaning(_sha256(_form(tree).encode()), tuple(_imports(tree)))
    except (SyntaxError, ValueError, RecursionError):
        return Meaning(_sha256(source))


def _form(node: Any) -> str:
    """A tree as text: the same whatever it was spelled like, on every version of Python."""
    if isinstance(node, ast.JoinedStr):  # Pythons differ in where they cut its text, and add ""
        pieces = groupby(node.values, key=lambda value: isinstance(value, ast.Constant))
        parts = [_text(list(values)) if texts else list(values) for texts, values in pieces]
        return f"JoinedStr({','.join(_form(part) for part in parts if part)})"
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_form(value)}"
            for name, value in ast.iter_fields(node)
            # Fields that only a newer Python has are empty in a tree that an older one can have.
            if name not in SPELLING and value is not None and value != []
        ]
        return f"{type(node).__name__}({','.join(fields)})"
    if isinstance(node, list):
        return f"[{','.join(_form(item) for item in node if not _says_nothing(item))}]"
    return hex(node) if type(node) is int else ascii(node)  # hex: long numbers have no decimals


def _text(constants: list[Any]) -> str:
    return "".join(constant.value for constant in constants)


def _says_nothing(node: Any) -> bool:
    """Docstrings, also those of attributes, and `pass`."""
    text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    return text or isinstance(node, ast.Pass)


def _imports(tree: ast.AST) -> Iterator[Import]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (Import(0, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            names = tuple(alias.name for alias in node.names)
            yield Import(node.level, node.module or "", names)
        elif isinstance(node, ast.Call):
            yield from _called(node)


def _called(node: ast.Call) -> Iterator[Import]:
    """`import_module("a.b")`, `import_module(".b", __package__)` and `__import__("a.b")`."""
    function = node.func
    name = getattr(function, "attr", getattr(function, "id", ""))
    if name in ("import_module", "__import__") and node.args:
        first = node.args[0]
        if isinstance(first, ast.Constant) and isinstance(first.value, str):
            module = first.value.lstrip(".")
            yield Import(len(first.value) - len(module), module)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
