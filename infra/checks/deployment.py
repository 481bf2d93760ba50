"""What a parameter file would deploy: every module opened, every loop unrolled, every name and id worked out.

What only Azure knows (a principal id, an endpoint) stands as a placeholder `<resource id>.path`, so that two places
that must agree can still be compared. `uniqueString` and `guid` are stand-ins with the right shape.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from tree_sitter import Node

from infra.checks.findings import Finding, Unsupported
from infra.checks.syntax import BicepFile, Declaration, read_file, text_of

GROUP = "/subscriptions/00000000-0000-0000-0000-000000000000/resourceGroups/rg-concord"
_META = ("name", "parent", "scope", "dependsOn")


@dataclass(frozen=True, slots=True)
class Deployed:
    """One resource as it would be sent: `body` without name, parent and scope; `scope_id` for extensions."""

    where: str
    symbol: str
    type: str
    version: str
    name: str
    id: str
    scope_id: str
    parent_type: str
    body: dict[str, Any]


@dataclass(slots=True)
class Deployment:
    """What one parameter file deploys; `declared` names every declaration met, deployed or not."""

    label: str
    parameters: dict[str, Any]
    resources: list[Deployed] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    declared: set[str] = field(default_factory=set)
    reached: set[str] = field(default_factory=set)
    loaded: set[Path] = field(default_factory=set)

    def of_type(self, name: str) -> list[Deployed]:
        """The resources of one type."""
        return [resource for resource in self.resources if resource.type == name]

    def one(self, name: str) -> Deployed:
        """The only resource of a type."""
        (found,) = self.of_type(name)
        return found


@dataclass(frozen=True, slots=True)
class _Reference:
    """A resource or module as other expressions see it."""

    kind: str
    id: str
    name: str
    type: str
    outputs: Mapping[str, Any] = field(default_factory=dict)


def deploy(main: Path, parameter_file: Path) -> Deployment:
    """Evaluate `main` with the values of an ARM parameter file. Faults are in `findings`, never raised."""
    given = {name: entry["value"] for name, entry in json.loads(parameter_file.read_text())["parameters"].items()}
    deployment = Deployment(parameter_file.stem, given)
    _Module(read_file(main), deployment, given, parameter_file.name).run()
    return deployment


class _Module:
    """One file with its parameters' values."""

    def __init__(self, file: BicepFile, deployment: Deployment, given: Mapping[str, Any], caller: str) -> None:
        self.file = file
        self.deployment = deployment
        self.caller = caller
        self.given = dict(given)
        self.values: dict[str, Any] = {}
        self.working: set[str] = set()
        self.references: dict[str, Any] = {}

    def run(self) -> dict[str, Any]:
        """Deploy everything of this file and give its outputs."""
        self.deployment.findings += self.file.errors
        self._take_parameters()
        for declaration in (*self.file.resources.values(), *self.file.modules.values()):
            self.deployment.declared.add(f"{self.file.path.name} {declaration.symbol}")
            self._guarded(declaration.symbol, partial(self._reference, declaration.symbol))
        outputs = {}
        for name, node in self.file.outputs.items():
            outputs[name] = self._guarded(f"output {name}", partial(self._evaluate, node, {}))
        return outputs

    def _guarded(self, what: str, work: Callable[[], Any]) -> Any:
        try:
            return work()
        except Unsupported as fault:
            finding = Finding(f"{self.file.path.name} {what}", str(fault))
            if finding not in self.deployment.findings:
                self.deployment.findings.append(finding)
            return f"<{self.file.path.name}.{what}>"

    def _take_parameters(self) -> None:
        for name in self.given.keys() - self.file.parameters.keys():
            self._fault(f"{name} is given by {self.caller}, but {self.file.path.name} has no such parameter")
        for name, parameter in self.file.parameters.items():
            if name not in self.given and parameter.default is None:
                self._fault(f"parameter {name} has no default and {self.caller} does not give it")
                self.given[name] = f"<{name}>"
            if name in self.given:
                self._hold_to_decorators(name)

    def _hold_to_decorators(self, name: str) -> None:
        parameter, value = self.file.parameters[name], self.given[name]
        kinds: dict[str, type | tuple[type, ...]] = {
            "string": str, "int": int, "bool": bool, "array": list, "object": dict,
        }  # fmt: skip
        expected = kinds.get(parameter.type)
        if expected is not None and (not isinstance(value, expected) or (expected is int and isinstance(value, bool))):
            self._fault(f"parameter {name} is {value!r}, not of type {parameter.type}")
            return
        limits = {key: self._evaluate(node, {}) for key, node in parameter.decorators.items() if key != "description"}
        if "allowed" in limits and value not in limits["allowed"]:
            self._fault(f"parameter {name} is {value!r}, allowed are {limits['allowed']}")
        size = len(value) if isinstance(value, str | list) else value
        for limit in ("minValue", "minLength", "maxValue", "maxLength"):
            if limit in limits and (size < limits[limit] if limit.startswith("min") else size > limits[limit]):
                self._fault(f"parameter {name} is {value!r}, beyond {limit} {limits[limit]}")

    def _fault(self, what: str) -> None:
        self.deployment.findings.append(Finding(self.file.path.name, what))

    # Declarations

    def _reference(self, symbol: str) -> Any:
        """The resource or module of a symbol, deployed at first use; a list of them for a loop."""
        if symbol not in self.references:
            if symbol in self.working:
                raise Unsupported(f"{symbol} depends on itself")
            self.working.add(symbol)
            declaration = self.file.resources.get(symbol) or self.file.modules[symbol]
            self.references[symbol] = self._declare(declaration)
        return self.references[symbol]

    def _declare(self, declaration: Declaration) -> Any:
        value = declaration.value
        if value.type == "for_statement":
            names, items, body = value.named_children[0], value.named_children[1], value.named_children[-1]
            if names.type != "identifier":
                raise Unsupported("a loop of more than one variable is beyond the plain subset")
            return [self._make(declaration, body, {text_of(names): item}) for item in self._evaluate(items, {})]
        if value.type == "if_statement":
            condition, body = value.named_children
            if not self._evaluate(condition, {}):
                return None
            return self._make(declaration, body, {})
        return self._make(declaration, value, {})

    def _make(self, declaration: Declaration, body: Node, local: Mapping[str, Any]) -> _Reference:
        if declaration.symbol in self.file.modules:
            return self._open(declaration, body, local)
        type_name, _, version = declaration.target.partition("@")
        parts = {self._key(pair, local): pair.named_children[1] for pair in _pairs(body)}
        meta = {key: self._evaluate(parts[key], local) for key in _META if key in parts}
        parent, scope = meta.get("parent"), meta.get("scope")
        name = str(meta.get("name", ""))
        if type_name.startswith("Microsoft.Authorization/") or type_name == "Microsoft.Insights/diagnosticSettings":
            resource_id = f"{scope.id if scope else GROUP}/providers/{type_name}/{name}"
        elif parent is not None:
            resource_id = f"{parent.id}/{type_name.rsplit('/', 1)[1]}/{name}"
        else:
            resource_id = f"{GROUP}/providers/{type_name}/{name}"
        if not declaration.existing:
            rest = {key: self._evaluate(node, local) for key, node in parts.items() if key not in _META}
            self.deployment.reached.add(f"{self.file.path.name} {declaration.symbol}")
            self.deployment.resources.append(
                Deployed(
                    where=f"{self.file.path.name}:{declaration.line} {declaration.symbol}"
                    + (f" {name}" if local else ""),
                    symbol=declaration.symbol, type=type_name, version=version, name=name, id=resource_id,
                    scope_id=scope.id if isinstance(scope, _Reference) else "",
                    parent_type=parent.type if isinstance(parent, _Reference) else "",
                    body={key: value for key, value in rest.items() if value is not None},
                )
            )  # fmt: skip
        return _Reference("resource", resource_id, name, type_name)

    def _open(self, declaration: Declaration, body: Node, local: Mapping[str, Any]) -> _Reference:
        path = (self.file.path.parent / declaration.target).resolve()
        if not path.is_file():
            raise Unsupported(f"module file {declaration.target} does not exist")
        parts = {self._key(pair, local): pair.named_children[1] for pair in _pairs(body)}
        unknown = parts.keys() - {"name", "params", "dependsOn", "scope"}
        if unknown:
            raise Unsupported(f"a module has no property {sorted(unknown)[0]}")
        given = self._evaluate(parts["params"], local) if "params" in parts else {}
        self.deployment.reached.add(f"{self.file.path.name} {declaration.symbol}")
        outputs = _Module(read_file(path), self.deployment, given, f"module {declaration.symbol}").run()
        return _Reference("module", declaration.symbol, declaration.symbol, declaration.target, outputs)

    # Expressions

    def _evaluate(self, node: Node, local: Mapping[str, Any]) -> Any:
        children = node.named_children
        match node.type:
            case "string":
                return self._string(node, local)
            case "multiline_string" | "multiline_string_content":
                return text_of(node).strip("'")
            case "number":
                return int(text_of(node))
            case "boolean":
                return text_of(node) == "true"
            case "null":
                return None
            case "parenthesized_expression":
                return self._evaluate(children[0], local)
            case "identifier":
                return self._look_up(text_of(node), local)
            case "object":
                return {self._key(pair, local): self._evaluate(pair.named_children[1], local) for pair in _pairs(node)}
            case "array":
                return [self._evaluate(item, local) for item in children if item.type != "comment"]
            case "for_statement":
                names, items, body = children[0], children[1], children[-1]
                if names.type != "identifier":
                    raise Unsupported("a loop of more than one variable is beyond the plain subset")
                return [self._evaluate(body, {**local, text_of(names): item}) for item in self._evaluate(items, local)]
            case "member_expression":
                return self._member(self._evaluate(children[0], local), text_of(children[1]))
            case "subscript_expression":
                base, index = (self._evaluate(child, local) for child in children)
                try:
                    return base[index]
                except (KeyError, IndexError, TypeError):
                    raise Unsupported(f"{text_of(node)} has no element {index!r}") from None
            case "ternary_expression":
                condition, yes, no = children
                return self._evaluate(yes if self._evaluate(condition, local) else no, local)
            case "unary_expression":
                value = self._evaluate(children[0], local)
                return not value if text_of(node).startswith("!") else -value
            case "binary_expression":
                return self._binary(node, local)
            case "call_expression":
                return self._call(node, local)
            case other:
                raise Unsupported(f"{other} is beyond the plain subset: {text_of(node)[:60]!r}")

    def _string(self, node: Node, local: Mapping[str, Any]) -> str:
        out = []
        for child in node.named_children:
            match child.type:
                case "string_content":
                    out.append(text_of(child))
                case "escape_sequence":
                    escaped = text_of(child)
                    out.append({"\\n": "\n", "\\t": "\t", "\\'": "'", "\\\\": "\\", "\\$": "$"}.get(escaped, escaped))
                case _:
                    out.append(_as_text(self._evaluate(child.named_children[0], local)))
        return "".join(out)

    def _key(self, pair: Node, local: Mapping[str, Any]) -> str:
        name = pair.named_children[0]
        return text_of(name) if name.type == "identifier" else self._string(name, local)

    def _look_up(self, name: str, local: Mapping[str, Any]) -> Any:
        if name in local:
            return local[name]
        if name in self.file.resources or name in self.file.modules:
            return self._reference(name)
        if name not in self.values:
            if name in self.given:
                self.values[name] = self.given[name]
            elif name in self.file.parameters and self.file.parameters[name].default is not None:
                self.values[name] = self._evaluate(self.file.parameters[name].default, {})  # type: ignore[arg-type]
            elif name in self.file.variables:
                self.values[name] = self._evaluate(self.file.variables[name], {})
            else:
                raise Unsupported(f"{name} is declared nowhere")
        return self.values[name]

    def _member(self, base: Any, name: str) -> Any:
        if isinstance(base, _Reference):
            if base.kind == "module":
                if name == "outputs":
                    return dict(base.outputs) | {"__module__": base.name}
                raise Unsupported(f"module {base.name} is used for {name}, not for outputs")
            known = {"id": base.id, "name": base.name, "type": base.type}
            return known.get(name, f"<{base.id}>.{name}")
        if isinstance(base, str) and base.startswith("<"):
            return f"{base}.{name}"
        if isinstance(base, dict):
            if name not in base:
                of = f"module {base['__module__']} has no output" if "__module__" in base else "there is no"
                raise Unsupported(f"{of} {name}")
            return base[name]
        raise Unsupported(f"{name} of {base!r}")

    def _binary(self, node: Node, local: Mapping[str, Any]) -> Any:
        left_node, right_node = node.named_children
        operator = next(text_of(child) for child in node.children if not child.is_named)
        left = self._evaluate(left_node, local)
        if operator == "&&":
            return left and self._evaluate(right_node, local)
        if operator == "||":
            return left or self._evaluate(right_node, local)
        if operator == "??":
            return left if left is not None else self._evaluate(right_node, local)
        right = self._evaluate(right_node, local)
        operations: dict[str, Callable[[], Any]] = {
            "==": lambda: left == right, "!=": lambda: left != right, ">": lambda: left > right,
            "<": lambda: left < right, ">=": lambda: left >= right, "<=": lambda: left <= right,
            "+": lambda: left + right, "-": lambda: left - right, "*": lambda: left * right,
            "/": lambda: left // right, "%": lambda: left % right,
        }  # fmt: skip
        if operator not in operations:
            raise Unsupported(f"the operator {operator} is beyond the plain subset")
        return operations[operator]()

    def _call(self, node: Node, local: Mapping[str, Any]) -> Any:
        target, argument_node = node.named_children
        name = text_of(target)
        if name in {"loadTextContent", "loadJsonContent"}:
            content = self._load(text_of(argument_node.named_children[0]).strip("'"))
            return json.loads(content) if name == "loadJsonContent" else content
        if name not in _FUNCTIONS:
            raise Unsupported(f"the function {name} is beyond the plain subset")
        arguments = [self._evaluate(argument, local) for argument in argument_node.named_children]
        try:
            return _FUNCTIONS[name](*arguments)
        except (TypeError, ValueError) as fault:
            raise Unsupported(f"{text_of(node)[:60]} cannot be worked out: {fault}") from fault

    def _load(self, relative: str) -> str:
        path = (self.file.path.parent / relative).resolve()
        if not path.is_file():
            raise Unsupported(f"{relative} does not exist")
        self.deployment.loaded.add(path)
        return path.read_text(encoding="utf-8")


def _pairs(node: Node) -> list[Node]:
    if node.type != "object":
        raise Unsupported(f"an object is expected, not {text_of(node)[:60]!r}")
    return [pair for pair in node.named_children if pair.type == "object_property"]


def _as_text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)


def _concat(*parts: Any) -> Any:
    if all(isinstance(part, list) for part in parts):
        return [item for part in parts for item in part]
    return "".join(_as_text(part) for part in parts)


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "concat": _concat,
    "contains": lambda whole, part: part in whole,
    "empty": lambda value: not value,
    "environment": lambda: {
        "suffixes": {"storage": "core.windows.net"},
        "authentication": {"loginEndpoint": "https://login.microsoftonline.com/"},
    },
    "guid": lambda *parts: str(uuid5(NAMESPACE_URL, "|".join(map(str, parts)))),
    "length": len,
    "max": max,
    "min": min,
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "resourceGroup": lambda: {"id": GROUP, "location": "westeurope", "name": "rg-concord"},
    "string": _as_text,
    "subscription": lambda: {
        "id": GROUP.partition("/resourceGroups")[0],
        "subscriptionId": GROUP.split("/")[2],
        "tenantId": "11111111-1111-1111-1111-111111111111",
    },
    "subscriptionResourceId": lambda kind, name: f"/subscriptions/{GROUP.split('/')[2]}/providers/{kind}/{name}",
    "take": lambda whole, count: whole[:count],
    "toLower": lambda text: text.lower(),
    "union": lambda *objects: {key: value for each in objects for key, value in each.items()},
    "uniqueString": lambda *parts: "u" + sha256("|".join(parts).encode()).hexdigest()[:12],
}
