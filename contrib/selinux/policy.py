"""A linked SELinux policy, read once with setools, and asked about in the words of prove.py."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import setools

EVER = None
"""Under some setting of some boolean; those that loosen every service at once (GENERAL) count as they are set."""
GENERAL = ("daemons_", "domain_")
"""What the names of such booleans begin with, on Fedora and RHEL."""
DEFAULT: Mapping[str, bool] = {}
"""With every boolean as the policy sets it; a mapping with names in it sets those otherwise."""
When = Mapping[str, bool] | None


@dataclass(frozen=True)
class Rule:
    """One allow rule; source and target are a type or an attribute."""

    source: str
    targets: frozenset[str]
    cls: str
    perms: frozenset[str]
    condition: Any
    """setools' expression of booleans, and on which side of it the rule stands; None for a rule that always holds."""


class Policy:
    """Raises OSError or ValueError when the file holds no policy."""

    def __init__(self, path: str) -> None:
        try:
            self._policy = setools.SELinuxPolicy(path)
        except setools.exception.InvalidPolicy as fault:
            raise ValueError(f"{path}: {fault}") from fault
        self._booleans = {str(b): b.state for b in self._policy.bools()}
        self.booleans = frozenset(self._booleans)
        self._members = {str(a): frozenset(map(str, a.expand())) for a in self._policy.typeattributes()}
        self._types = {str(t): t for t in self._policy.types()}
        self.types = frozenset(self._types)
        self.capabilities = {str(capability) for capability in self._policy.polcaps()}
        self._names: dict[str, set[str]] = {}
        self._by_source: dict[str, list[Rule]] = defaultdict(list)
        self._by_target: dict[str, list[Rule]] = defaultdict(list)
        self._transitions: dict[tuple[str, str], str] = {}
        for rule in self._policy.terules():
            self._add(rule)

    def _add(self, rule: Any) -> None:
        kind = str(rule.ruletype)
        source, target = str(rule.source), str(rule.target)
        if kind == "type_transition" and str(rule.tclass) == "process":
            for one in self.members(source):
                for entry in self.members(target):
                    self._transitions[one, entry] = str(rule.default)
        if kind != "allow":
            return
        try:
            condition = rule.conditional, rule.conditional_block
        except setools.exception.RuleNotConditional:
            condition = None
        made = Rule(source, self.members(target), str(rule.tclass), frozenset(rule.perms), condition)
        self._by_source[source].append(made)
        self._by_target[target].append(made)

    def members(self, name: str) -> frozenset[str]:
        """The types of an attribute; a type itself."""
        return self._members.get(name) or frozenset((name,))

    def attributes(self, name: str) -> set[str]:
        """The attributes of a type."""
        return self._names_of(name) - {name}

    def _names_of(self, name: str) -> set[str]:
        if name not in self._names:
            self._names[name] = {name} | {a for a, members in self._members.items() if name in members}
        return self._names[name]

    def permissive(self, name: str) -> bool:
        """Whether the policy only logs what this domain may not do."""
        return bool(self._types[name].ispermissive)

    def port(self, number: int) -> str:
        """The type of a TCP port."""
        query = setools.PortconQuery(self._policy, ports=(number, number), protocol="tcp", ports_overlap=True)
        exact = [p for p in query.results() if p.ports.low == p.ports.high == number]
        return str(exact[0].context.type_) if exact else ""

    def transition(self, source: str, entry: str) -> str:
        """Into which domain `source` changes when it runs a program of this type; "" for none."""
        return self._transitions.get((source, entry), "")

    def _holds(self, rule: Rule, when: When) -> bool:
        if rule.condition is None:
            return True
        expression, side = rule.condition
        names = {str(boolean) for boolean in expression.booleans}
        if when is None and not all(name.startswith(GENERAL) for name in names):
            return True
        values = {name: (when or {}).get(name, self._booleans[name]) for name in names}
        return bool(expression.evaluate(**values) == side)

    def _matching(
        self, rules: Iterable[Rule], cls: str | tuple[str, ...] | None, perms: str | None, when: When
    ) -> Iterator[Rule]:
        classes = {cls} if isinstance(cls, str) else cls
        wanted = set(perms.split()) if perms else None
        for rule in rules:
            fits = (classes is None or rule.cls in classes) and (wanted is None or wanted & rule.perms)
            if fits and self._holds(rule, when):
                yield rule

    def rules(
        self,
        source: str,
        cls: str | tuple[str, ...] | None = None,
        perms: str | None = None,
        when: When = EVER,
        to: str | None = None,
    ) -> Iterator[Rule]:
        """The allow rules that give `source` any of these permissions, its attributes' rules included."""
        of_source = (rule for name in sorted(self._names_of(source)) for rule in self._by_source[name])
        return (r for r in self._matching(of_source, cls, perms, when) if to is None or to in r.targets)

    def granted(
        self, source: str, cls: str | tuple[str, ...], perms: str, when: When = EVER, to: str | None = None
    ) -> set[str]:
        """The types on which `source` has any of these permissions; of these only `to`, where that is given."""
        found = {target for rule in self.rules(source, cls, perms, when) for target in rule.targets}
        return found if to is None else found & {to}

    def holders(self, target: str, cls: str, perms: str, when: When = EVER) -> set[str]:
        """The types that have any of these permissions on `target`."""
        of_target = (rule for name in sorted(self._names_of(target)) for rule in self._by_target[name])
        return {who for rule in self._matching(of_target, cls, perms, when) for who in self.members(rule.source)}
