"""All entries of the catalogue."""

from tests.misbehaviour.acceptances import acceptances
from tests.misbehaviour.answers import answers
from tests.misbehaviour.catalogue import Misbehaviour
from tests.misbehaviour.connections import connections
from tests.misbehaviour.moments import aborts, hangs, losses
from tests.misbehaviour.out_of_turn import answers_out_of_turn
from tests.misbehaviour.rejections import rejections
from tests.misbehaviour.releases import releases
from tests.misbehaviour.sessions import sessions
from tests.misbehaviour.sizes import sizes
from tests.misbehaviour.statuses import statuses

EVERYTHING: tuple[Misbehaviour, ...] = (
    *connections(),
    *rejections(),
    *acceptances(),
    *aborts(),
    *losses(),
    *hangs(),
    *answers(),
    *answers_out_of_turn(),
    *statuses(),
    *releases(),
    *sizes(),
    *sessions(),
)
BY_ID = {case.id: case for case in EVERYTHING}
_names = [case.id for case in EVERYTHING]
assert len(BY_ID) == len(_names), {name for name in _names if _names.count(name) > 1}
