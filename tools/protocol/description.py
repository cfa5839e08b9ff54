"""The whole outside protocol as JSON-ready data: the message table, and what lives above it.

protocol/ knows messages and snapshot records but nothing of terrain or of settings. Added here: the kinds of ground and their
speeds, the layout of a chunk's payload, the settings a client can feel (at their defaults) and the ladder of degradation, so that one
dictionary feeds the JSON, PROTOCOL.md, the browser's codec and the test vectors.
"""

from typing import Any

from protocol import edits, messages, spec
from protocol.messages import Rate
from server.config import settings
from server.interest import LADDER
from world import terrain, tiles

TILES_PER_CHUNK = terrain.CHUNK_TILES**2

FELT_SETTINGS = (
    "server.port",
    "world.tick_hz",
    "world.walk_speed_tiles_per_s",
    "interest.radius_cells",
    "interest.client_bytes_per_s",
    "interest.crowd_entities",
    "limits.hello_timeout_s",
    "limits.ping_interval_s",
    "limits.idle_timeout_s",
    "limits.message_bytes_max",
    "limits.messages_per_frame_max",
    "limits.fragments_max",
    "limits.flood_refusals_max",
    "limits.flood_window_s",
    "limits.outbox_bytes_max",
    "limits.slow_client_s",
    "session.resume_s",
    "session.ticket_days",
    "accounts.access_s",
    "accounts.refresh_days",
    "accounts.failures_max",
)

WELCOME_SETTINGS = {  # what server.gate puts there; a test holds the two together
    "cell_tiles": "side of a cell and of a chunk, in tiles",
    "radius_cells": "rings of cells seen around one's own, at best",
    "walk_speed": "full walking speed, tiles a second",
    "chat_radius_tiles": "how far a nearby line carries",
    "chat_chars_max": "the longest line of chat",
    "resume_s": "how long one stays in the world after a lost line",
    "ping_interval_s": "how often a quiet client is pinged",
    "chunk_radius_max": "how far away chunks may be asked for, in chunks",
    "ground_id": "names the world's ground; chunks kept under another name are of another world: throw them away",
    "built_id": "names this start of the server; what is kept of what was built under another name may be undone, see What is built",
    "plot_tiles": "side of a plot, in tiles: land is owned in whole plots",
    "fee_basis_points": "what the house takes of a sale that is listed now, in hundredths of a percent of its price, rounded down",
    "fee_min": "and the least, in poisha, but never more than the price; what a listing costs stands in it",
}


def describe() -> dict[str, Any]:
    """The protocol, with the chunk payload, the kinds of ground and objects, default settings, rates and the ladder."""
    whole = spec.describe()
    whole["limits"] = {
        "name_chars_max": messages.NAME_CHARS_MAX,
        "chat_chars_max": messages.CHAT_CHARS_MAX,
        "token_chars_max": messages.TOKEN_CHARS_MAX,
        "world_tiles_max": messages.WORLD_TILES_MAX,
        "action_id_bytes": messages.ACTION_ID_BYTES,
        "parcel_name_chars_max": messages.PARCEL_NAME_CHARS_MAX,
        "description_chars_max": messages.DESCRIPTION_CHARS_MAX,
        "money_max": messages.MONEY_MAX,
        "look_tiles_max": messages.LOOK_TILES_MAX,
        "edits_max": edits.EDITS_MAX,
        "reason_chars_max": messages.REASON_CHARS_MAX,
        "report_chars_max": messages.REPORT_CHARS_MAX,
        "password_chars_min": messages.PASSWORD_CHARS_MIN,
        "password_chars_max": messages.PASSWORD_CHARS_MAX,
        "email_chars_max": messages.EMAIL_CHARS_MAX,
        "bio_chars_max": messages.BIO_CHARS_MAX,
        "code_chars_max": messages.CODE_CHARS_MAX,
    }
    for enum in (terrain.Ground, terrain.ObjectKind, tiles.Build):
        whole["enums"][enum.__name__] = {member.name: member.value for member in enum}
    whole["ground_speed"] = {ground.name: speed for ground, speed in terrain.GROUND_SPEED.items()}
    whole["object_speed"] = {kind.name: speed for kind, speed in terrain.OBJECT_SPEED.items()}
    whole["build_walk"] = {kind.name: percent for kind, percent in tiles.BUILD_WALK.items()}
    whole["chunk"] = _chunk()
    defaults = {name: field.default for name, field in settings()}
    whole["defaults"] = {name: defaults[name] for name in FELT_SETTINGS}
    whole["welcome_settings"] = WELCOME_SETTINGS
    whole["rates"] = {rate.value: defaults[_setting_of(rate)].model_dump() for rate in Rate}
    whole["ladder"] = _ladder(defaults["world.tick_hz"], defaults["interest.radius_cells"])
    return whole


def _setting_of(rate: Rate) -> str:
    return "limits.hellos_per_address" if rate is Rate.HELLO else f"limits.rates.{rate.value}"


def _ladder(tick_hz: int, radius_cells: int) -> list[dict[str, Any]]:
    """The steps as `view` tells them."""
    return [
        {
            "step": step,
            "radius_cells": rung.radius(radius_cells),
            "near_hz": tick_hz // rung.near_period,
            "far_hz": tick_hz // rung.far_period,
            "crowds": rung.crowds,
        }
        for step, rung in enumerate(LADDER)
    ]


def _chunk() -> dict[str, Any]:
    """The payload that world.terrain.encode writes; a test reads chunks by this layout and compares."""
    return {
        "byte_order": "little",
        "compression": "zlib (RFC 1950)",
        "tiles": terrain.CHUNK_TILES,
        "layers": [
            _layer("ground", False, "the kind of ground, enum Ground"),
            _layer("walk", False, "percent of full walking speed, 0 blocks; ground and objects together"),
            _layer("height", True, f"0 to 255, the sea lies at {terrain.SEA_LEVEL}"),
            _layer("shade", True, "hillshade, light from the north-west; 128 is flat"),
            _layer("red", True, "colour of the ground before shading"),
            _layer("green", True, "colour of the ground before shading"),
            _layer("blue", True, "colour of the ground before shading"),
        ],
        "objects": {
            "count": "u16",
            "record_bytes": terrain.OBJECT_RECORD.itemsize,
            "fields": [
                {**field, "meaning": _OBJECT_MEANINGS[field["name"]]}
                for field in spec.layout(terrain.OBJECT_RECORD)
            ],
            "order": "by y, then by x",
        },
    }


_OBJECT_MEANINGS = {
    "tile": f"index of its tile, y * {terrain.CHUNK_TILES} + x",
    "kind": "enum ObjectKind",
    "dx": "east of the tile's corner, in 1/256 tile",
    "dy": "south of the tile's corner, in 1/256 tile",
    "size": "128 is the normal size",
}


def _layer(name: str, delta: bool, meaning: str) -> dict[str, Any]:
    return {"name": name, "type": "u8", "count": TILES_PER_CHUNK, "delta": delta, "meaning": meaning}
