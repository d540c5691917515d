"""Join tokens, with which proxies join, and API tokens, with which people and programs call this API."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from api.errors import Conflicting, NotFound, Unavailable, Unprocessable
from api.roles import Role
from api.routing import Answer, Call, Content, NoQuery, Reply, Route
from api.shapes.tokens import (
    ApiTokenList,
    ApiTokenMade,
    ApiTokenShown,
    ApiTokenWish,
    JoinTokenMade,
    JoinTokens,
    JoinTokenShown,
    JoinTokenWish,
    Revoked,
)
from api.tokens import ApiToken, NoSuchToken
from ca.errors import TokenError, UnknownToken
from ca.tokens import TokenRecord, token_id
from mesh.errors import InvalidName


async def list_join_tokens(call: Call[NoQuery, None]) -> JoinTokens:
    store = call.backend.join_tokens
    records, damaged = await asyncio.to_thread(lambda: (store.list(), store.damaged()))
    return JoinTokens(items=tuple(map(_of_join, records)), damaged=damaged)


async def create_join_token(call: Call[NoQuery, JoinTokenWish]) -> Reply:
    wish, store, now = call.body, call.backend.join_tokens, call.backend.clock()

    def made() -> tuple[str, TokenRecord]:
        token = store.create(
            wish.namespace,
            wish.service_account,
            now=now,
            workload=wish.workload,
            ttl=timedelta(seconds=wish.life),
            uses=wish.uses,
        )
        return token, next(each for each in store.list() if each.token_id == token_id(token))

    try:
        token, record = await asyncio.to_thread(made)
    except (TokenError, InvalidName) as error:
        raise Unprocessable(str(error)) from error
    except OSError as error:
        raise _disk(error) from error
    call.told["token"] = record.token_id
    return Reply(JoinTokenMade(token=token, **_of_join(record).model_dump()), 201)


async def revoke_join_token(call: Call[NoQuery, None]) -> Revoked:
    ident = call.path["token"]
    try:
        await asyncio.to_thread(call.backend.join_tokens.revoke, ident)
    except UnknownToken as error:
        raise NotFound(str(error)) from error
    except OSError as error:
        raise _disk(error) from error
    call.told["token"] = ident
    return Revoked(id=ident)


async def list_api_tokens(call: Call[NoQuery, None]) -> ApiTokenList:
    tokens = call.backend.api_tokens
    return ApiTokenList(items=tuple(map(_of_api, tokens.list())), damaged=tokens.damaged)


async def create_api_token(call: Call[NoQuery, ApiTokenWish]) -> Reply:
    wish, backend = call.body, call.backend
    namespaces = None if wish.namespaces is None else frozenset(wish.namespaces)
    try:
        text, token = await asyncio.to_thread(
            backend.api_tokens.create,
            wish.name,
            Role.parse(wish.role),
            namespaces,
            timedelta(seconds=wish.life),
            now=backend.clock(),
            by=call.caller.name,
        )
    except ValueError as error:
        raise Conflicting(str(error)) from error
    except OSError as error:
        raise _disk(error) from error
    call.told["token"], call.told["role"] = token.id, str(token.role)
    return Reply(ApiTokenMade(token=text, **_of_api(token).model_dump()), 201)


async def revoke_api_token(call: Call[NoQuery, None]) -> Revoked:
    try:
        token = await asyncio.to_thread(call.backend.api_tokens.revoke, call.path["token"])
    except NoSuchToken as error:
        raise NotFound(str(error)) from error
    except OSError as error:
        raise _disk(error) from error
    call.told["token"] = token.id
    return Revoked(id=token.id)


def _disk(error: OSError) -> Unavailable:
    return Unavailable(
        f"the data directory cannot be written: {error.strerror or error}: free some space, or correct its owner"
    )


def _of_join(record: TokenRecord) -> JoinTokenShown:
    return JoinTokenShown(
        id=record.token_id,
        namespace=record.namespace,
        service_account=record.service_account,
        workload=record.workload,
        created=record.created,
        expires=record.expires,
        uses=record.uses,
        used=record.used,
    )


def _of_api(token: ApiToken) -> ApiTokenShown:
    return ApiTokenShown(
        id=token.id,
        name=token.name,
        role=str(token.role),
        namespaces=None if token.namespaces is None else tuple(sorted(token.namespaces)),
        created=token.created,
        expires=token.expires,
        created_by=token.created_by,
    )


_WRITE: Final = (413, 415, 422, 503)

ROUTES: Final = (
    Route(
        "GET", "/tokens", "listJoinTokens", "Join tokens, without their secrets", list_join_tokens,
        {200: Answer(JoinTokens, "Those that were not revoked.")}, tag="Tokens",
    ),
    Route(
        "POST", "/tokens", "createJoinToken", "Make a join token", create_join_token,
        {201: Answer(JoinTokenMade, "The token, this once.")}, tag="Tokens",
        content=Content(JoinTokenWish), problems=_WRITE, writes=True,
    ),
    Route(
        "DELETE", "/tokens/{token}", "revokeJoinToken", "Revoke a join token", revoke_join_token,
        {200: Answer(Revoked, "Nobody joins by it any more.")}, tag="Tokens", problems=(404, 503), writes=True,
    ),
    Route(
        "GET", "/api-tokens", "listApiTokens", "API tokens, without their secrets", list_api_tokens,
        {200: Answer(ApiTokenList, "Those that were not revoked.")}, tag="Tokens",
    ),
    Route(
        "POST", "/api-tokens", "createApiToken", "Make an API token", create_api_token,
        {201: Answer(ApiTokenMade, "The token, this once.")}, tag="Tokens",
        content=Content(ApiTokenWish), problems=(409, *_WRITE), writes=True,
    ),
    Route(
        "DELETE", "/api-tokens/{token}", "revokeApiToken", "Revoke an API token", revoke_api_token,
        {200: Answer(Revoked, "It opens nothing any more.")}, tag="Tokens", problems=(404, 503), writes=True,
    ),
)  # fmt: skip
