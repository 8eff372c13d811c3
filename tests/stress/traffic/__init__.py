"""The kinds of traffic: each module says what its traffic does and what the right answer is."""

from stress.traffic.base import Traffic
from stress.traffic.blocking import Blocking
from stress.traffic.bodies import Bodies
from stress.traffic.crowds import Crowds
from stress.traffic.disconnects import Disconnects
from stress.traffic.events import Events
from stress.traffic.failures import Failures
from stress.traffic.forks import Forks
from stress.traffic.garbage import Garbage
from stress.traffic.multiplexed import Multiplexed
from stress.traffic.refusals import Refusals
from stress.traffic.reloads import Reloads
from stress.traffic.requests import Requests
from stress.traffic.sockets import Sockets
from stress.traffic.static import Static
from stress.traffic.streams import Streams
from stress.traffic.talk import Talk

KINDS: tuple[type[Traffic], ...] = (
    Requests,
    Multiplexed,
    Bodies,
    Streams,
    Events,
    Sockets,
    Disconnects,
    Reloads,
    Forks,
    Talk,
    Blocking,
    Failures,
    Static,
    Refusals,
    Garbage,
    Crowds,
)

__all__ = ["KINDS", "Traffic"]
