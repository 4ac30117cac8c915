"""Keeps services running: notices an end, starts again with back-off, stops all in order."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from embedded.errors import CannotStart
from embedded.service import Service

LONGEST_DELAY_S = 30.0
PROVEN_AFTER_S = 60.0
TROUBLE_DEATHS = 5
TROUBLE_WITHIN_S = 60.0
POLL_S = 0.1


class Interrupted(Exception):
    """Someone asked the supervisor to stop while it was still starting."""


@dataclass
class Watch:
    """What the supervisor remembers about one service."""

    service: Service
    delay_s: float
    started_at: float
    restart_at: float | None = None
    is_awaited: bool = False
    deaths: deque[float] = field(default_factory=lambda: deque(maxlen=TROUBLE_DEATHS))
    is_troubled: bool = False


class Supervisor:
    """A table of services and the loop over it. `say` gets one line per event."""

    def __init__(
        self,
        say: Callable[[str], None],
        *,
        first_delay_s: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
        on_trouble: Callable[[tuple[str, ...]], None] = lambda names: None,
    ) -> None:
        self._say = say
        self._first_delay_s = first_delay_s
        self._clock = clock
        self._on_trouble = on_trouble
        self._watches: list[Watch] = []
        self._stops_asked = 0

    def interrupt(self) -> None:
        """Once: stop in order. Twice: no more patience with anything but the databases."""
        self._stops_asked += 1

    @property
    def is_stopping(self) -> bool:
        return self._stops_asked > 0

    def start(self, service: Service) -> None:
        """Start (or adopt) a service and keep it running from now on."""
        service.start()
        self._watches.append(Watch(service, self._first_delay_s, self._clock()))
        verb = "adopted" if service.is_adopted else "started"
        self._say(f"{service.name} {verb} (pid {service.pid})")

    def wait_for(self, condition: Callable[[], bool], within_s: float) -> bool:
        """Keep everything running until the condition holds; False when the time is over."""
        deadline = self._clock() + within_s
        while not condition():
            if self.is_stopping:
                raise Interrupted
            if self._clock() > deadline:
                return False
            self.tick()
            time.sleep(POLL_S)
        return True

    def run(self) -> None:
        """Keep everything running until someone interrupts."""
        while not self.is_stopping:
            self.tick()
            time.sleep(POLL_S)

    def tick(self) -> None:
        """Look at every service once."""
        for watch in self._watches:
            if watch.service.is_alive():
                self._note_life(watch)
            elif watch.restart_at is None:
                self._note_death(watch)
            elif self._clock() >= watch.restart_at:
                self._start_again(watch)

    def stop(self, groups: Sequence[tuple[Sequence[Service], float]]) -> None:
        """Stop group after group, each within its seconds; what does not obey is killed."""
        for services, within_s in groups:
            alive = [service for service in services if service.is_alive()]
            for service in alive:
                service.ask_to_stop()
            self._wait_for_ends(alive, within_s)
        self._watches.clear()

    def _wait_for_ends(self, services: list[Service], within_s: float) -> None:
        deadline = self._clock() + within_s
        patient = list(services)
        while alive := [service for service in services if service.is_alive()]:
            for service in alive:
                hurried = self._stops_asked > 1 and not service.is_database
                if service in patient and (hurried or self._clock() > deadline):
                    patient.remove(service)
                    self._say(f"{service.name} is killed; it had not stopped yet")
                    service.kill()
            time.sleep(0.02)
        for service in services:
            service.kill_rest()
            self._say(f"{service.name} stopped")

    def _note_life(self, watch: Watch) -> None:
        if watch.is_awaited and watch.service.is_ready():
            watch.is_awaited = False
            self._say(f"{watch.service.name} is back (pid {watch.service.pid})")
        if self._clock() - watch.started_at < PROVEN_AFTER_S:
            return
        watch.delay_s = self._first_delay_s
        if watch.is_troubled:
            watch.is_troubled = False
            self._tell_trouble()

    def _note_death(self, watch: Watch) -> None:
        now = self._clock()
        watch.service.kill_rest()
        self._say(f"{watch.service.name} {watch.service.ending()}; again in {watch.delay_s:g} s")
        watch.deaths.append(now)
        self._put_off(watch)
        many = len(watch.deaths) == TROUBLE_DEATHS
        if many and now - watch.deaths[0] <= TROUBLE_WITHIN_S and not watch.is_troubled:
            watch.is_troubled = True
            self._say(
                f"{watch.service.name} died {TROUBLE_DEATHS} times within a minute; "
                f"see {watch.service.log}. Trying on."
            )
            self._tell_trouble()

    def _put_off(self, watch: Watch) -> None:
        watch.restart_at = self._clock() + watch.delay_s
        watch.delay_s = min(LONGEST_DELAY_S, 2 * watch.delay_s)

    def _start_again(self, watch: Watch) -> None:
        try:
            watch.service.start()
        except (CannotStart, OSError) as error:
            self._say(f"{watch.service.name} cannot start: {error}")
            self._put_off(watch)
            return
        watch.started_at = self._clock()
        watch.restart_at = None
        watch.is_awaited = True

    def _tell_trouble(self) -> None:
        self._on_trouble(tuple(w.service.name for w in self._watches if w.is_troubled))
