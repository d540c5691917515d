"""A resource as a client would be given it if some documents said something else: rendered as what is sent, and sent to nobody."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from envoy import names
from envoy.render import Rendered, Renderer
from meshwright import renderings
from meshwright.editions import Edition, Overlay
from meshwright.publisher import Publisher
from meshwright.scopes import Captured, Edge, Local, Outbound, Proxyless, Scope
from xds.resource import Name
from xds.types import ENDPOINT


class Untraceable(Exception):
    """It cannot be told what a resource would be, and why."""


@dataclass(frozen=True, slots=True)
class Sketcher:
    publisher: Publisher
    renderer: Renderer

    def resource(self, client: str, name: Name, overlay: Overlay) -> Rendered | None:
        """The resource `name` of `client`, which is attached, with `overlay` over the edition that it has; None: there would be none.

        Untraceable where that cannot be told: what has gone meanwhile, or is made of more than one service.
        """
        scope = next(
            (
                each
                for each in self.publisher.scopes_of(client)
                if self.publisher.service_of(each, name) is not None
            ),
            None,
        )
        if scope is None:
            raise Untraceable(f"{client} has no {name[1]} any more that is made of one service or workload")
        edition = self.publisher.edition(client)
        if overlay:
            edition = self.publisher.editions.draft(edition.overlay.under(overlay))
        try:
            wanted = self.publisher.scopes_in(edition, client)
            then = next((each for each in wanted if type(each) is type(scope)), None)
            made = () if then is None else self._made(edition, scope, then, name)
            return next((each for each in made if (each.type_url, each.name) == name), None)
        except Untraceable:
            raise
        except Exception as error:
            raise Untraceable(f"it cannot be rendered: {type(error).__name__}: {error}") from error

    def _made(self, edition: Edition, scope: Scope, then: Scope, name: Name) -> Iterable[Rendered]:
        """All that is rendered together with the resource `name`, which `scope` has, for `then`, that scope as it would be."""
        key = self.publisher.service_of(scope, name)
        assert key is not None  # noqa: S101 (the caller's condition)
        match then:
            case Local() | Edge():
                return renderings.listening(self.renderer, then)
            case _ if key not in edition.state.services:
                return ()
            case Outbound() | Proxyless():
                by = renderings.of_endpoints if name[0] == ENDPOINT else renderings.of_service
                return by(self.renderer, edition, then, key)
            case Captured():
                direct = name[1].startswith(names.DIRECT)
                of_captured = renderings.of_direct if direct else renderings.of_address
                return of_captured(self.renderer, edition, then, key)
            case _:
                raise Untraceable(f"{name[1]} is made of more than one document's service or workload")
