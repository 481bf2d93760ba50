"""One Bicep file as a parser sees it: parameters, variables, resources, modules and outputs, each with its node."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import tree_sitter_bicep
from tree_sitter import Language, Node, Parser

from infra.checks.findings import Finding

_PARSER = Parser(Language(tree_sitter_bicep.language()))


@dataclass(frozen=True, slots=True)
class Parameter:
    """A `param`: its type, its default (None: none), and its decorators' arguments by name."""

    name: str
    type: str
    default: Node | None
    decorators: dict[str, Node]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A `resource` or `module`: `target` is the type with its version, or the path of the module's file."""

    symbol: str
    target: str
    existing: bool
    value: Node
    line: int


@dataclass(slots=True)
class BicepFile:
    """A parsed file."""

    path: Path
    text: str
    parameters: dict[str, Parameter] = field(default_factory=dict)
    variables: dict[str, Node] = field(default_factory=dict)
    resources: dict[str, Declaration] = field(default_factory=dict)
    modules: dict[str, Declaration] = field(default_factory=dict)
    outputs: dict[str, Node] = field(default_factory=dict)
    errors: list[Finding] = field(default_factory=list)


def read_file(path: Path) -> BicepFile:
    """Parse one file; what cannot be parsed is in `errors`."""
    content = path.read_bytes()
    root = _PARSER.parse(content).root_node
    file = BicepFile(path, content.decode())
    file.errors += [
        Finding(f"{path.name}:{node.start_point[0] + 1}", f"cannot be parsed near {_start(node)!r}")
        for node in walk(root)
        if node.type == "ERROR" or node.is_missing
    ]
    decorators: dict[str, Node] = {}
    for node in root.named_children:
        match node.type:
            case "decorators":
                decorators = dict(_decorators(node))
                continue
            case "parameter_declaration":
                name = text_of(node.named_children[0])
                default = node.named_children[2] if len(node.named_children) > 2 else None
                file.parameters[name] = Parameter(name, text_of(node.named_children[1]), default, decorators)
            case "variable_declaration":
                file.variables[text_of(node.named_children[0])] = node.named_children[1]
            case "output_declaration":
                file.outputs[text_of(node.named_children[0])] = node.named_children[-1]
            case "resource_declaration" | "module_declaration":
                symbol, target = node.named_children[:2]
                existing = any(child.type == "existing" for child in node.children)
                value = node.named_children[-1]
                made = Declaration(
                    text_of(symbol), text_of(target).strip("'"), existing, value, node.start_point[0] + 1
                )
                into = file.resources if node.type == "resource_declaration" else file.modules
                into[made.symbol] = made
            case "comment" | "diagnostic_comment" | "target_scope_assignment" | "ERROR":
                pass
            case other:
                where = f"{path.name}:{node.start_point[0] + 1}"
                file.errors.append(Finding(where, f"{other} is beyond the plain subset that the offline checks read"))
        decorators = {}
    return file


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    yield node
    for child in node.children:
        yield from walk(child)


def text_of(node: Node) -> str:
    """The node as it stands in the file."""
    return (node.text or b"").decode()


def _decorators(node: Node) -> Iterator[tuple[str, Node]]:
    for decorator in node.named_children:
        call = decorator.named_children[0]
        arguments = call.named_children[1].named_children if len(call.named_children) > 1 else []
        yield text_of(call.named_children[0]), arguments[0] if arguments else call


def _start(node: Node) -> str:
    return text_of(node).strip().split("\n")[0][:60]
