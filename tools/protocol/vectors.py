"""tests/vectors/codec.json: messages beside their bytes, made by a second MessagePack implementation.

The server speaks through msgspec; the bytes here come from the `msgpack` package, fed with plain lists put together from the
description, so that neither the message classes nor msgspec have a hand in them. Server and browser are tested against the file.

    messages       {name, fields, hex, hex_nil?, javascript}   hex leaves trailing absent optionals out, hex_nil spells them out
                   (the server writes the latter; both are read by both)
    alternatives   {name, fields, hex, why}    the same message in other widths: both must read it, neither writes it
    frames         {messages: [{name, fields}], hex}           several messages end to end in one WebSocket message
    blocks         {why, cx, cy, hex, blocks: [{cx, cy, player_ids, places}]}   `snapshot.cells` taken from cell (cx, cy); places are
                   tiles, player_ids is null where the block is not named
    bad_blocks     {why, hex}                  `snapshot.cells` that ends within a block: to be refused

Bytes inside `fields` are {"bin": hex}. `javascript` is "same" where the browser writes the same bytes, "values" where it writes a
whole float as an integer (JavaScript has one kind of number; the server reads either), "rounded" past 2^53.
"""

import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgpack

Fields = dict[str, Any]
Cell = tuple[int, int]
Record = tuple[int, int, int]

U32_MAX = 2**32 - 1
U63_MAX = 2**63 - 1
JS_INTEGER_MAX = 2**53 - 1
TICKET = "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmVk"
ACTION = bytes(range(16))
LISTING: Fields = {
    "listing_id": 7,
    "parcel_id": 1,
    "seller_id": 1,
    "price": 10**15,
    "fee": 250,
    "keep_permits": False,
    "tiles": 16_384,
    "arrears": 0,
    "seq": JS_INTEGER_MAX,
    "ends_ms": None,
}
AUCTION: Fields = {
    "auction_id": 8,
    "parcel_id": 1,
    "seller_id": 1,
    "price": 10**15,
    "fee": 250,
    "least": 10**15 + 100,
    "bids": U32_MAX,
    "keep_permits": False,
    "tiles": 16_384,
    "arrears": 0,
    "seq": JS_INTEGER_MAX,
    "ends_ms": 3_600_000,
    "latest_ms": JS_INTEGER_MAX,
    "leader_id": None,
    "leader_name": None,
    "buy_now": None,
    "reserved": None,
    "reserve": None,
    "maximum": None,
}
LED: Fields = {
    "leader_id": U32_MAX,
    "leader_name": "নদী",
    "buy_now": 10**15,
    "reserved": True,
    "reserve": 0,
    "maximum": 10**15,
}
PARCEL: Fields = {
    "parcel_id": 1,
    "owner_id": 9,
    "owner_name": "Robin",
    "x": -32,
    "y": 16,
    "width": 16,
    "height": 32,
    "name": "By the river",
    "description": "",
    "open_enter": True,
    "open_build": False,
    "standing": None,
    "to_let": None,
    "lease": None,
    "upkeep_ms": None,
    "arrears": None,
    "way": None,
    "given_to": None,
    "listing": None,
    "auction": None,
}
TERMS: Fields = {"rent": 5_000, "deposit": 10_000, "term_ms": 86_400_000, "renewable": True}
NAMED = bytes.fromhex("88820100000000080010ffffffffffff0000")  # two people in the own cell
NOT_NAMED = bytes.fromhex("780200080010ffff0000")  # two in the cell to the west
EMPTY = bytes.fromhex("9780")  # nobody to the north-east

MESSAGES: list[tuple[str, Fields]] = [
    ("hello", {"protocol": 1, "client": "vectors/1"}),
    ("hello", {"protocol": 1, "client": "vectors/1", "token": TICKET}),
    ("hello", {"protocol": 1, "client": "vectors/1", "resume": TICKET}),
    ("hello", {"protocol": 65535, "client": "", "token": "", "resume": ""}),
    ("hello", {"protocol": 0, "client": "c" * 64, "token": "t" * 2048, "resume": "r" * 2048}),
    ("ping", {"nonce": 0}),
    ("ping", {"nonce": 127}),
    ("ping", {"nonce": 128}),
    ("ping", {"nonce": 256}),
    ("ping", {"nonce": 65536}),
    ("ping", {"nonce": U32_MAX}),
    ("move", {"seq": 1, "dx": 0.0, "dy": 0.0}),
    ("move", {"seq": 2, "dx": 1.0, "dy": -1.0}),
    ("move", {"seq": U32_MAX, "dx": 0.7071067811865476, "dy": -0.7071067811865476}),
    ("chunk_get", {"request_id": 1, "cx": 0, "cy": -1}),
    ("chunk_get", {"request_id": 2, "cx": -33, "cy": 31, "version": 0}),
    ("chunk_get", {"request_id": U32_MAX, "cx": -32768, "cy": 32767, "version": U32_MAX}),
    ("chat_say", {"request_id": 3, "channel": 0, "text": "x"}),
    ("chat_say", {"request_id": 4, "channel": 1, "text": "Grüß dich, 世界 👋\n\u0000"}),
    ("chat_say", {"request_id": 5, "channel": 2, "text": "𝄞" * 500, "to": U32_MAX}),
    ("player_find", {"request_id": 6, "name": "A"}),
    ("player_find", {"request_id": 7, "name": "নদীর ধারের মানুষ"}),
    ("player_find", {"request_id": 8, "name": "W" * 24}),
    (
        "tile_edit",
        {"request_id": 9, "action_id": bytes(range(16)), "edits": bytes.fromhex("ffffffff0700000004")},
    ),
    ("tile_edit", {"request_id": U32_MAX, "action_id": b"\xff" * 16, "edits": bytes(576)}),
    ("tile_undo", {"request_id": 10, "action_id": ACTION}),
    ("land_at", {"request_id": 11, "x": -0.5, "y": 1048576.0}),
    ("land_in", {"request_id": 12, "x": -1048576, "y": 1048575, "width": 1, "height": 512}),
    ("land_in", {"request_id": 12, "x": 0, "y": 0, "width": 512, "height": 1, "after": U32_MAX}),
    ("land_mine", {"request_id": 13}),
    ("land_mine", {"request_id": 13, "after": 64}),
    ("land_for_sale", {"request_id": 14}),
    ("land_for_sale", {"request_id": 14, "skip": 64}),
    ("land_to_let", {"request_id": 14}),
    ("land_to_let", {"request_id": 14, "skip": 64}),
    ("land_quote", {"request_id": 15, "x": -32, "y": 16, "width": 16, "height": 32}),
    ("land_claim", {"request_id": 16, "action_id": ACTION, "x": -32, "y": 16, "width": 16, "height": 32}),
    (
        "land_describe",
        {
            "request_id": 17,
            "action_id": ACTION,
            "parcel_id": 1,
            "name": "নদীর ধারে",
            "description": "d" * 400,
        },
    ),
    ("land_open", {"request_id": 18, "action_id": ACTION, "parcel_id": 1, "enter": False, "build": True}),
    ("land_permit", {"request_id": 19, "action_id": ACTION, "parcel_id": 1, "player_id": 2, "standing": 3}),
    ("land_permits", {"request_id": 20, "parcel_id": U32_MAX}),
    ("land_transfer", {"request_id": 21, "action_id": ACTION, "parcel_id": 1, "to": U32_MAX}),
    ("land_split", {"request_id": 22, "action_id": ACTION, "parcel_id": 1, "cut": 1, "at": -16}),
    (
        "land_split",
        {"request_id": 22, "action_id": ACTION, "parcel_id": 1, "cut": 0, "at": 2**20 - 16, "ease": True},
    ),
    ("land_merge", {"request_id": 23, "action_id": ACTION, "parcel_id": 1, "other_id": 2}),
    ("land_abandon", {"request_id": 24, "action_id": ACTION, "parcel_id": 1}),
    ("land_take", {"request_id": 25, "action_id": ACTION, "parcel_id": U32_MAX}),
    ("market_list", {"request_id": 26, "action_id": ACTION, "parcel_id": 1, "price": 10**15}),
    (
        "market_list",
        {
            "request_id": 26,
            "action_id": ACTION,
            "parcel_id": 1,
            "price": 0,
            "duration_ms": 366 * 86_400_000,
            "keep_permits": True,
        },
    ),
    ("market_edit", {"request_id": 26, "action_id": ACTION, "listing_id": JS_INTEGER_MAX, "price": 5_000}),
    (
        "market_edit",
        {
            "request_id": 26,
            "action_id": ACTION,
            "listing_id": 1,
            "price": 5_000,
            "duration_ms": 1,
            "keep_permits": False,
        },
    ),
    ("market_cancel", {"request_id": 26, "action_id": ACTION, "listing_id": JS_INTEGER_MAX}),
    ("market_buy", {"request_id": 26, "action_id": ACTION, "listing_id": 1, "price": 10**15}),
    (
        "market_buy",
        {"request_id": 26, "action_id": ACTION, "listing_id": 1, "price": 0, "seq": JS_INTEGER_MAX},
    ),
    (
        "market_auction",
        {"request_id": 26, "action_id": ACTION, "parcel_id": 1, "start_price": 10**15, "duration_ms": 1},
    ),
    (
        "market_auction",
        {
            "request_id": 26,
            "action_id": ACTION,
            "parcel_id": U32_MAX,
            "start_price": 0,
            "duration_ms": 366 * 86_400_000,
            "reserve": 10**15,
            "buy_now": 10**15,
            "keep_permits": True,
            "show_reserve": False,
        },
    ),
    ("market_bid", {"request_id": 26, "action_id": ACTION, "auction_id": JS_INTEGER_MAX, "amount": 5_000}),
    (
        "market_bid",
        {"request_id": 26, "action_id": ACTION, "auction_id": 1, "amount": 0, "maximum": 10**15},
    ),
    ("wallet", {"request_id": 27}),
    ("wallet_statement", {"request_id": 28}),
    ("wallet_statement", {"request_id": 28, "before": U63_MAX}),
    ("receipt_get", {"request_id": 29, "seq": JS_INTEGER_MAX}),
    ("land_let", {"request_id": 30, "action_id": ACTION, "parcel_id": 1}),
    (
        "land_let",
        {
            "request_id": 30,
            "action_id": ACTION,
            "parcel_id": 1,
            "rent": 10**15,
            "term_ms": 366 * 86_400_000,
            "deposit": 0,
            "renewable": True,
        },
    ),
    ("land_rent", {"request_id": 31, "action_id": ACTION, "parcel_id": 1, "rent": 0}),
    ("moderation_mute", {"request_id": 40, "action_id": ACTION, "player_id": 1, "reason": "r" * 200}),
    (
        "moderation_mute",
        {
            "request_id": 40,
            "action_id": ACTION,
            "player_id": U32_MAX,
            "reason": "চিৎকার",
            "minutes": 52_704_000,
        },
    ),
    ("moderation_kick", {"request_id": 41, "action_id": ACTION, "player_id": 1, "reason": "r"}),
    ("moderation_ban", {"request_id": 42, "action_id": ACTION, "player_id": 1, "scope": 2, "reason": "r"}),
    (
        "moderation_ban",
        {"request_id": 42, "action_id": ACTION, "player_id": 1, "scope": 0, "reason": "r", "minutes": 1},
    ),
    (
        "moderation_lift",
        {"request_id": 43, "action_id": ACTION, "player_id": 1, "sanction": 1, "reason": "r"},
    ),
    (
        "player_report",
        {"request_id": 44, "action_id": ACTION, "player_id": 1, "offence": 4, "text": "𝄞" * 500},
    ),
    ("moderation_reports", {"request_id": 45, "closed": False}),
    ("moderation_reports", {"request_id": 45, "closed": True, "after": U32_MAX}),
    ("moderation_close", {"request_id": 46, "action_id": ACTION, "report_id": 1, "note": ""}),
    ("player_block", {"request_id": 47, "action_id": ACTION, "player_id": 1}),
    ("player_unblock", {"request_id": 48, "action_id": ACTION, "player_id": 1}),
    ("player_blocks", {"request_id": 49}),
    (
        "land_rent",
        {
            "request_id": 31,
            "action_id": ACTION,
            "parcel_id": U32_MAX,
            "rent": 5_000,
            "term_ms": 1,
            "deposit": 10**15,
        },
    ),
    (
        "land_ease",
        {
            "request_id": 33,
            "action_id": ACTION,
            "parcel_id": 1,
            "x": -16,
            "y": 2**20 - 16,
            "width": 0,
            "height": 2**21,
        },
    ),
    ("land_leave", {"request_id": 32, "action_id": ACTION, "parcel_id": 1}),
    (
        "account_register",
        {
            "request_id": 34,
            "action_id": ACTION,
            "name": "নদী",
            "email": "robin@example.org",
            "password": "seven horses on a roof",
        },
    ),
    ("account_login", {"request_id": 35, "name": "Robin", "password": "𝄞" * 256}),
    ("account_refresh", {"request_id": 36, "refresh_token": TICKET}),
    ("account_logout", {"request_id": 37}),
    (
        "account_change_password",
        {"request_id": 38, "password": "", "new_password": "a boat full of lanterns"},
    ),
    ("account_sessions", {"request_id": 39}),
    ("account_revoke", {"request_id": 40}),
    ("account_revoke", {"request_id": 40, "session_id": bytes(range(16))}),
    ("account_profile", {"request_id": 41}),
    ("account_profile", {"request_id": 41, "player_id": U32_MAX}),
    ("account_edit_profile", {"request_id": 42}),
    ("account_edit_profile", {"request_id": 42, "name": "Bea", "look": U32_MAX, "bio": "b" * 400}),
    ("account_verify_email", {"request_id": 43}),
    ("account_verify_email", {"request_id": 43, "code": "K7QD-2M9F-XW3T"}),
    (
        "account_verify_email",
        {"request_id": 43, "code": None, "email": "e" * 254, "password": "seven horses on a roof"},
    ),
    ("account_reset_password", {"request_id": 44, "email": "robin@example.org"}),
    (
        "account_reset_password",
        {
            "request_id": 44,
            "email": "robin@example.org",
            "code": "c" * 32,
            "new_password": "a boat full of lanterns",
        },
    ),
    ("account_export", {"request_id": 45, "part": 0}),
    ("account_delete", {"request_id": 46, "password": "seven horses on a roof"}),
    (
        "welcome",
        {
            "player_id": 1,
            "name": "Robin",
            "role": "guest",
            "x": -3.25,
            "y": 17.5,
            "tick": 72000,
            "tick_hz": 20,
            "epoch": 3,
            "durable_seq": 0,
            "resume": TICKET,
            "settings": {
                "cell_tiles": 32,
                "walk_speed": 4.5,
                "chat_chars_max": 300,
                "open": True,
                "note": None,
            },
        },
    ),
    (
        "welcome",
        {
            "player_id": U32_MAX,
            "name": "ß" * 24,
            "role": "admin",
            "x": -1048576.0,
            "y": 1048576.0,
            "tick": U63_MAX,
            "tick_hz": 65535,
            "epoch": U32_MAX,
            "durable_seq": JS_INTEGER_MAX,
            "resume": "",
            "settings": {},
        },
    ),
    ("refused", {"request_id": 0, "code": 8, "message": "This server wants a token."}),
    ("refused", {"request_id": U32_MAX, "code": 3, "message": "", "retry_after_ms": 1500}),
    ("ok", {"request_id": 3, "seq": 0, "result": {"heard_by": 12}}),
    ("ok", {"request_id": 2, "seq": 0, "result": {"delivery": 2, "version": 1}}),
    (
        "ok",
        {
            "request_id": 7,
            "seq": JS_INTEGER_MAX,
            "result": {"player_id": 9, "name": "Robin", "online": False},
        },
    ),
    ("ok", {"request_id": 9, "seq": 1, "result": {}}),
    ("ok", {"request_id": 9, "seq": 0, "result": {"tiles": 64}}),
    ("pong", {"nonce": U32_MAX, "tick": 4294967296}),
    ("moved", {"seq": 2, "tick": 72001, "x": -3.0625, "y": 17.25}),
    ("snapshot", {"tick": 72001, "cx": -1, "cy": 0, "cells": b""}),
    ("snapshot", {"tick": 72001, "cx": -32768, "cy": 32767, "cells": NAMED}),
    ("snapshot", {"tick": 72002, "cx": 0, "cy": 0, "cells": (NAMED + NOT_NAMED + EMPTY) * 20}),
    ("appeared", {"player_id": 9, "name": "Robin", "look": U32_MAX}),
    (
        "chat_said",
        {"channel": 0, "sender_id": 9, "sender_name": "Robin", "text": "hello", "time_ms": 3600000},
    ),
    ("chat_said", {"channel": 2, "sender_id": 9, "sender_name": "R", "text": "", "time_ms": 0, "to": 1}),
    ("chunk", {"cx": 3, "cy": -4, "version": 1, "data": bytes(range(256)) * 2}),
    (
        "chunk_edits",
        {"cx": 3, "cy": -4, "from_version": 1, "version": 3, "edits": bytes.fromhex("000004ff0300")},
    ),
    ("view", {"step": 0, "radius_cells": 1, "near_hz": 20, "far_hz": 10, "crowds": False}),
    ("view", {"step": 255, "radius_cells": 0, "near_hz": 5, "far_hz": 0, "crowds": True}),
    ("crowd", {"tick": 72001, "cx": 0, "cy": 1, "count": 1800}),
    ("closing", {"code": 4000, "message": "You signed in elsewhere."}),
    ("closing", {"code": 1001, "message": "Back soon.", "retry_after_ms": 500, "resume": TICKET}),
    ("closing", {"code": 1001, "message": "Back soon.", "resume": TICKET}),
    ("ok", {"request_id": 11, "seq": 0, "result": PARCEL}),
    ("ok", {"request_id": 12, "seq": 0, "result": {"parcels": [PARCEL, PARCEL], "more": False}}),
    ("land_claimed", {"parcel": PARCEL}),
    ("land_changed", {"parcel": {**PARCEL, "name": "", "open_build": True}}),
    ("land_freed", {"parcel_id": U32_MAX}),
    ("entry_denied", {"parcel_id": 1, "trouble": 0, "message": "Ada lets nobody in."}),
    ("land_changed", {"parcel": {**PARCEL, "to_let": TERMS, "upkeep_ms": 0, "arrears": 65535}}),
    ("land_changed", {"parcel": {**PARCEL, "given_to": 4294967295}}),
    ("land_changed", {"parcel": {**PARCEL, "way": {"x": -32, "y": 16, "width": 16, "height": 16}}}),
    (
        "land_changed",
        {
            "parcel": {
                **PARCEL,
                "lease": {
                    "tenant_id": 2,
                    "tenant_name": "Bea",
                    "terms": TERMS,
                    "ends_ms": JS_INTEGER_MAX,
                    "leaving": True,
                },
            }
        },
    ),
    ("lease_ended", {"parcel_id": 1, "tenant_id": U32_MAX}),
    ("upkeep_missed", {"parcel_id": 1, "owed": 10**15, "freed_ms": JS_INTEGER_MAX}),
    ("ok", {"request_id": 11, "seq": 0, "result": {**PARCEL, "listing": LISTING}}),
    ("listing_opened", {"listing": LISTING}),
    ("listing_changed", {"listing": {**LISTING, "keep_permits": True, "ends_ms": JS_INTEGER_MAX}}),
    (
        "listing_ended",
        {
            "listing_id": 7,
            "parcel_id": U32_MAX,
            "seller_id": 1,
            "end": 0,
            "price": 10**15,
            "buyer_id": U32_MAX,
        },
    ),
    ("listing_ended", {"listing_id": 7, "parcel_id": 1, "seller_id": 1, "end": 3, "price": 0}),
    ("ok", {"request_id": 11, "seq": 0, "result": {**PARCEL, "auction": {**AUCTION, **LED}}}),
    ("auction_opened", {"auction": AUCTION}),
    ("auction_opened", {"auction": {**AUCTION, **LED}}),
    (
        "auction_bid",
        {
            "auction_id": 8,
            "parcel_id": 1,
            "leader_id": U32_MAX,
            "leader_name": "Robin",
            "price": 0,
            "fee": 0,
            "least": 10**15,
            "bids": 1,
            "seq": JS_INTEGER_MAX,
            "ends_ms": JS_INTEGER_MAX,
        },
    ),
    (
        "auction_bid",
        {
            "auction_id": 8,
            "parcel_id": 1,
            "leader_id": 1,
            "leader_name": "নদী",
            "price": 10**15,
            "fee": 250,
            "least": 1,
            "bids": 1,
            "seq": 9,
            "ends_ms": 0,
            "buy_now": 10**15,
            "reserved": False,
        },
    ),
    (
        "auction_extended",
        {"auction_id": 8, "parcel_id": U32_MAX, "seq": 9, "ends_ms": 1, "latest_ms": JS_INTEGER_MAX},
    ),
    (
        "auction_ended",
        {
            "auction_id": 8,
            "parcel_id": U32_MAX,
            "seller_id": 1,
            "end": 0,
            "price": 10**15,
            "winner_id": U32_MAX,
        },
    ),
    ("auction_ended", {"auction_id": 8, "parcel_id": 1, "seller_id": 1, "end": 4, "price": 0}),
    ("mute_changed", {"muted": False, "reason": ""}),
    ("mute_changed", {"muted": True, "reason": "চিৎকার", "until_ms": JS_INTEGER_MAX}),
    ("role_changed", {"role": "moderator"}),
    ("wallet_changed", {"balance": 10**15, "held": 0, "seq": JS_INTEGER_MAX}),
]

ALTERNATIVES: list[tuple[str, Fields, str, str]] = [
    ("move", {"seq": 1, "dx": 1.0, "dy": 0.0}, "94 03 01 01 00", "whole floats as integers"),
    (
        "move",
        {"seq": 1, "dx": -1.0, "dy": 0.5},
        "94 03 01 ff ca3f000000",
        "a float32, and a negative whole one",
    ),
    ("ping", {"nonce": 7}, "dc0002 cc02 cf0000000000000007", "wide array, wide code, wide integer"),
    ("ping", {"nonce": 7}, "dd00000002 d002 d30000000000000007", "signed widths"),
    ("player_find", {"request_id": 1, "name": "Ada"}, "93 06 01 da0003416461", "a 16-bit length of a text"),
    (
        "player_find",
        {"request_id": 1, "name": "Ada"},
        "93 06 01 db00000003416461",
        "a 32-bit length of a text",
    ),
    (
        "snapshot",
        {"tick": 1, "cx": 0, "cy": 0, "cells": EMPTY},
        "95 45 01 00 00 c50002 9780",
        "a 16-bit length of bytes",
    ),
    (
        "ok",
        {"request_id": 1, "seq": 0, "result": {"a": 1}},
        "94 42 01 00 de0001 a161 01",
        "a 16-bit count of a map",
    ),
]

FRAMES: list[list[tuple[str, Fields]]] = [
    [
        ("move", {"seq": 1, "dx": 0.5, "dy": 0.25}),
        ("ping", {"nonce": 1}),
        ("move", {"seq": 2, "dx": 0.0, "dy": 0.0}),
    ],
    [
        ("moved", {"seq": 1, "tick": 5, "x": 0.5, "y": 0.25}),
        ("appeared", {"player_id": 1, "name": "Robin", "look": 7}),
        ("snapshot", {"tick": 5, "cx": 0, "cy": 0, "cells": NAMED + EMPTY}),
    ],
    [("ping", {"nonce": number}) for number in range(64)],
]

_BOB, _EVE = (1, 2048, 4096), (U32_MAX, 65535, 0)  # player_id, x, y in units of the record
_MANY = [(3 * number + 1, number * 211 % 65536, number * 509 % 65536) for number in range(300)]

# Why, the cell it was taken from, and its blocks: dx, dy, whether named, who.
BLOCKS: list[tuple[str, Cell, list[tuple[int, int, bool, list[Record]]]]] = [
    ("nothing at all", (0, 0), []),
    ("named", (-1, 2), [(0, 0, True, [_BOB, _EVE])]),
    ("not named", (-1, 2), [(0, 0, False, [_BOB, _EVE])]),
    ("nobody there, named and not", (5, 5), [(1, -1, True, []), (-1, 1, False, [])]),
    ("the furthest steps", (0, 0), [(-7, 7, True, [_BOB]), (7, -7, False, [_BOB]), (-7, -7, True, [_EVE])]),
    ("the world's ends", (-32768, 32767), [(0, 0, True, [_EVE]), (7, -7, False, [_EVE])]),
    ("126 people, the most of a short head", (1, 1), [(0, 0, named, _MANY[:126]) for named in (True, False)]),
    (
        "127 people, the fewest of a long head",
        (1, 1),
        [(0, 0, named, _MANY[:127]) for named in (True, False)],
    ),
    ("300 people", (-9, 9), [(0, 0, named, _MANY) for named in (True, False)]),
    ("the cells around", (0, 0), [(dx, dy, dx < 0, _MANY[:3]) for dx in (-1, 0, 1) for dy in (-1, 0, 1)]),
]

BAD_BLOCKS: list[tuple[str, str]] = [
    ("no head", "88"),
    ("named, a byte short", "8881 01000000 0008 00"),
    ("named, only the id", "8881 01000000"),
    ("not named, a byte short", "8801 0008 00"),
    ("not named, a record short", "8802 00080010"),
    ("a long count cut off", "887f 2c"),
    ("a long count without records", "88ff 2c01"),
    ("a good block before a bad one", "8801 00080010 7881 01"),
]


def render(protocol: Mapping[str, Any]) -> str:
    """The text of codec.json: one vector a line."""
    table = {row["name"]: row for row in protocol["messages"]}
    return _document(
        {
            "about": ["made by `landworld protocol --write`, see tools/protocol/vectors.py"],
            "messages": [_vector(table[name], fields) for name, fields in MESSAGES],
            "alternatives": [
                {"name": name, "fields": fields, "hex": bytes.fromhex(text).hex(), "why": why}
                for name, fields, text, why in ALTERNATIVES
            ],
            "frames": [_frame(table, frame) for frame in FRAMES],
            "blocks": [_blocks(*row) for row in BLOCKS],
            "bad_blocks": [{"why": why, "hex": bytes.fromhex(text).hex()} for why, text in BAD_BLOCKS],
        }
    )


def to_hex(row: Mapping[str, Any], fields: Fields, spell_out: bool = False) -> str:
    """The message as hex; optional fields that are absent are nil inside, and at the end left out or (`spell_out`) nil as well."""
    values = [fields.get(field["name"]) for field in row["fields"]]
    required = sum(not field.get("optional", False) for field in row["fields"])
    while not spell_out and len(values) > required and values[-1] is None:
        values.pop()
    packed: bytes = msgpack.packb([row["code"], *values])
    return packed.hex()


def _vector(row: Mapping[str, Any], fields: Fields) -> dict[str, Any]:
    short, long = to_hex(row, fields), to_hex(row, fields, spell_out=True)
    vector = {"name": row["name"], "fields": fields, "hex": short}
    if long != short:
        vector["hex_nil"] = long
    return {**vector, "javascript": _javascript(fields)}


def _frame(table: Mapping[str, Mapping[str, Any]], frame: Sequence[tuple[str, Fields]]) -> dict[str, Any]:
    return {
        "messages": [{"name": name, "fields": fields} for name, fields in frame],
        "hex": "".join(to_hex(table[name], fields) for name, fields in frame),
    }


def _blocks(why: str, cell: Cell, blocks: Sequence[tuple[int, int, bool, list[Record]]]) -> dict[str, Any]:
    """The bytes are put together here field by field, so that protocol/snapshot.py has no hand in them."""
    packed, told = b"", []
    for dx, dy, named, records in blocks:
        cx, cy = cell[0] + dx, cell[1] + dy
        packed += bytes([(dx + 8) * 16 + dy + 8])
        head = 128 if named else 0
        packed += (
            bytes([head + len(records)])
            if len(records) < 127
            else struct.pack("<BH", head + 127, len(records))
        )
        for player_id, x, y in records:
            packed += struct.pack("<IHH", player_id, x, y) if named else struct.pack("<HH", x, y)
        told.append(
            {
                "cx": cx,
                "cy": cy,
                "player_ids": [player_id for player_id, _, _ in records] if named else None,
                "places": [[cx * 32 + x / 2048, cy * 32 + y / 2048] for _, x, y in records],
            }
        )
    return {"why": why, "cx": cell[0], "cy": cell[1], "hex": packed.hex(), "blocks": told}


def _javascript(fields: Fields) -> str:
    values = list(_plain_values(fields))
    if any(isinstance(value, int) and abs(value) > JS_INTEGER_MAX for value in values):
        return "rounded"
    return "values" if any(isinstance(value, float) and value.is_integer() for value in values) else "same"


def _plain_values(value: Any) -> Iterator[Any]:
    if not isinstance(value, Mapping):
        yield value
        return
    for inner in value.values():
        yield from _plain_values(inner)


def _document(sections: Mapping[str, Sequence[Any]]) -> str:
    blocks = []
    for name, rows in sections.items():
        lines = ",\n".join(f"    {json.dumps(row, ensure_ascii=False, default=_bin)}" for row in rows)
        blocks.append(f'  "{name}": [\n{lines}\n  ]')
    return "{\n" + ",\n".join(blocks) + "\n}\n"


def _bin(value: bytes) -> dict[str, str]:
    return {"bin": value.hex()}
