"""Access keys: which level a request's key opens. Comparisons take the same time whatever the key."""

import hmac
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Keys:
    """`master` opens everything, `host` keys every function, `functions` keys the function they stand under."""

    master: str
    host: Mapping[str, str]
    functions: Mapping[str, str]

    def opens(self, level: str, function: str, key: str | None) -> bool:
        """Whether `key` (None = none sent) opens a function of this auth level: anonymous, function or admin."""
        if level == "anonymous":
            return True
        if key is None:
            return False
        candidates = [self.master]
        if level == "function":
            candidates += [*self.host.values(), self.functions.get(function, "")]
        given = key.encode()
        matches = [candidate != "" and hmac.compare_digest(candidate.encode(), given) for candidate in candidates]
        return any(matches)


def parse_keys(host_keys: str, function_keys: str) -> Keys:
    """Keys from `default=…,master=…[,name=…]` and `function=key,…`. Raises ValueError without a master key."""
    host = _pairs(host_keys)
    if not host.get("master"):
        raise ValueError("the host keys carry no master key")
    return Keys(host.pop("master"), host, _pairs(function_keys))


def _pairs(text: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for pair in filter(None, text.split(",")):
        name, equals, value = pair.partition("=")
        if not (name and equals and value):
            raise ValueError("keys are given as name=value, separated by commas")
        pairs[name] = value
    return pairs
