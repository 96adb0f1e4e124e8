"""Which wordings of a fact are used, and which of them are kept back as probes. By hash, never by order of work.

A probe is an unseen phrasing: its fact is taught in other words of the same family, itself it is never taught.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from datagen.records import Role

MIN_TRAIN = 2  # train phrasings that a fact keeps in a family, or it has no probe there


@dataclass(frozen=True)
class Choice:
    """The settings that decide. per_fact: phrasings of a fact in a family at most; None: all."""

    per_fact: int | None = None
    probe_share: float = 0.15
    phrasings_per_snippet: int = 28
    seed: int = 0


def draw(*parts: object) -> int:
    """A number in [0, 2**64) that the parts alone decide."""
    text = "\0".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big")


def chosen(key: str, ids: Iterable[str], at_most: int | None, seed: int) -> list[str]:
    """The phrasings used for one fact or snippet: all, or the first at_most by hash, in the order given."""
    ids = list(ids)
    if at_most is None or at_most >= len(ids):
        return ids
    kept = set(sorted(ids, key=lambda id: draw(seed, "use", key, id))[:at_most])
    return [id for id in ids if id in kept]


def roles(fact: str, ids: Collection[str], share: float, seed: int) -> dict[str, Role]:
    """train or probe for each phrasing of one fact in one family; at least MIN_TRAIN are taught.

    share: the part of the pairs (fact, phrasing) that become probes, 0 to 1, where enough of them are left to train.
    """
    by_draw = sorted(ids, key=lambda id: draw(seed, "probe", fact, id))
    most = max(len(by_draw) - MIN_TRAIN, 0)
    wanted = [id for id in by_draw if draw(seed, "probe", fact, id) < share * 2**64]
    probes = set(wanted[:most])
    return {id: "probe" if id in probes else "train" for id in ids}


def phrased(fact: str, family: str, ids: Iterable[str], choice: Choice) -> dict[str, Role]:
    """The phrasings of a fact that a family uses, each with its role."""
    used = chosen(fact, [f"{family}/{id}" for id in ids], choice.per_fact, choice.seed)
    return {
        id.removeprefix(f"{family}/"): role for id, role in roles(fact, used, choice.probe_share, choice.seed).items()
    }
