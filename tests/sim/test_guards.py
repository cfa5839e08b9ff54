"""Each guard matters: without it, one of the first seeds finds that a promise is broken.

What a guard is taken out of is the server's own code, but for those that the database holds: they are taken out of the model of it
(tools/simulate/disk.py), which tests/sim/test_model.py holds to the real one. What clients must do is taken out of tools/built.py.
"""

import json
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from persistence.flusher import Flusher
from persistence.journal import Journal
from persistence.store import Books, StoredAnswer
from protocol import codec, messages
from protocol.errors import Refusal
from protocol.messages import Ok, Refused
from server import actions, loop, questions, recall, withheld
from server.actions import Actions, Waiting
from server.books import Books as RunningBooks
from server.frames import encode
from server.questions import Questions
from server.withheld import Withheld
from tools.built import Known
from tools.simulate import disk
from tools.simulate.disk import ModelStore, Tables
from tools.simulate.town import Town
from world import auctions, bidding, land, market, queries
from world.commands import Act, RecallSales, RecallTiles
from world.entries import Entry
from world.ledger import TREASURY, Ledger, Post
from world.sales import Auction, Listing
from world.state import Answer, State

SEEDS = range(120)
RARE = (519,)  # an edit that a crash undid, another one in its place, and somebody who saw the first
ACTIONS = 40

Remove = Callable[[pytest.MonkeyPatch], None]


def without_epoch_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tables, "check_epoch", lambda _, epoch: None)


def without_last_seq_check(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Tables, "unstored", lambda _, entries: list(entries))


def without_looking_for_answers(patch: pytest.MonkeyPatch) -> None:
    async def nothing(_: ModelStore, __: Sequence[bytes]) -> dict[bytes, StoredAnswer]:
        return {}

    patch.setattr(ModelStore, "find_answers", nothing)


def without_comparing_what_is_asked(patch: pytest.MonkeyPatch) -> None:
    def first(act: Act, before: StoredAnswer) -> Ok:
        return Ok(act.request.request_id, before.seq, json.loads(before.result))

    patch.setattr(actions, "_first_answer", first)


def without_answers_in_memory(patch: pytest.MonkeyPatch) -> None:
    def remember(state: State, action_id: bytes, answer: Answer) -> None:
        state.answers.clear()
        state.answers[action_id] = answer

    patch.setattr(State, "remember", remember)


def without_withholding(patch: pytest.MonkeyPatch) -> None:
    release = Withheld.release
    patch.setattr(Withheld, "release", lambda held, _, frame: release(held, 2**63, frame))


def without_withholding_refusals(patch: pytest.MonkeyPatch) -> None:
    answer = Withheld.answer

    def at_once(held: Withheld, seq: int, player_id: int, session: int, message: bytes) -> None:
        refused = isinstance(codec.decode_server(message)[0], Refused)
        answer(held, 0 if refused else seq, player_id, session, message)

    patch.setattr(Withheld, "answer", at_once)


def without_withholding_what_is_asked(patch: pytest.MonkeyPatch) -> None:
    ask = Questions.ask

    def at_once(asked: Questions, player_id: int, request: Any, answer: Callable[[Any, int], None]) -> None:
        ask(asked, player_id, request, lambda found, _: answer(found, 0))

    patch.setattr(Questions, "ask", at_once)


def without_room(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "room", lambda _, now_s: (2**31, 2**31))


def without_the_journals_age(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Journal, "lag_s", lambda _, now_s: 0.0)


def without_keeping_until_stored(patch: pytest.MonkeyPatch) -> None:
    def pop(journal: Journal, entries_max: int) -> list[Entry]:
        taken = [journal._entries.popleft()[0] for _ in range(min(len(journal._entries), entries_max))]
        journal._bytes -= sum(len(entry.record) for entry in taken)
        return taken

    patch.setattr(Journal, "next_batch", pop)


def without_waiting_for_the_commit(patch: pytest.MonkeyPatch) -> None:
    attempt = Flusher._attempt

    async def hopeful(flusher: Flusher, work: Any) -> bool:
        return await attempt(flusher, work) or not flusher.fenced

    patch.setattr(Flusher, "_attempt", hopeful)


def without_an_end_to_waiting(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(actions, "OVERDUE_S", 2.0**31)


def without_an_end_to_questions(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(questions, "OVERDUE_S", 2.0**31)


def without_remembering_who_was_refused(patch: pytest.MonkeyPatch) -> None:
    def settle(_: Actions, waiting: Waiting, answer: Ok | Refusal) -> None:
        waiting.answer(answer)

    patch.setattr(Actions, "_settle", settle)


def without_the_last_parcel_id(patch: pytest.MonkeyPatch) -> None:
    books = ModelStore.books

    async def forgotten(store: ModelStore) -> Books:
        found = await books(store)
        return Books(found.seq, found.digest, found.balances, found.holds, 0)

    patch.setattr(ModelStore, "books", forgotten)


def without_the_clock_of_entries(patch: pytest.MonkeyPatch) -> None:
    put = Flusher.put_positions

    def only_positions(flusher: Flusher, tick: int, player_ids: Iterable[int], xs: Any, ys: Any) -> None:
        players = list(player_ids)
        if players:
            put(flusher, tick, players, xs, ys)

    patch.setattr(Flusher, "put_positions", only_positions)


def without_recalling_what_is_built(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recall, "RecallTiles", lambda _: RecallTiles([]))


def without_doubting_what_another_start_told(patch: pytest.MonkeyPatch) -> None:
    enter = Known.enter

    def trusting(known: Known, built_id: str) -> None:
        known._built_id = built_id
        enter(known, built_id)

    patch.setattr(Known, "enter", trusting)


def without_telling_what_is_built(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(loop, "encode", lambda state, events, _, step: encode(state, events, [], step))


def without_recalling_what_is_for_sale(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(recall, "RecallSales", lambda _: RecallSales([]))


def without_telling_of_sales(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(withheld, "_add_sale", lambda *_: None)


def without_the_fee(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Listing, "fee", 0)


def without_keeping_what_is_for_sale(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(land, "check_not_in_sale", lambda *_: None)


def without_looking_at_what_was_inspected(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(market, "check_as_inspected", lambda *_: None)


def without_giving_back_what_is_outbid(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(auctions, "_back", lambda _: [])


def without_a_least_step(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bidding, "least", lambda *_: 0)


def without_a_limit_to_late_bids(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bidding, "_extended", lambda terms, ends, tick: max(ends, tick + 2 * terms.snipe_ticks))


def without_a_reserve(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bidding, "is_sold", lambda _, standing: standing.has_bids)


def without_time_to_come_back(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(auctions, "extended", lambda *_: None)


def without_keeping_maxima_secret(patch: pytest.MonkeyPatch) -> None:
    auctioned = queries.auctioned

    def to_anybody(state: State, auction: Auction, _: int | None = None) -> messages.Auction:
        return auctioned(state, auction, auction.standing.leader_id)

    patch.setattr(queries, "auctioned", to_anybody)


def without_keeping_raises_secret(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(bidding.Standing, "looks_like", lambda *_: False)


# --- one behind the other: the rule, the books that run along, the database, and then only the journal tells ---


class Anything:
    """Is whatever it is compared with."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return True


def without_comparing_in_memory(patch: pytest.MonkeyPatch) -> None:
    remember = State.remember

    def loosely(state: State, action_id: bytes, answer: Answer) -> None:
        remember(state, action_id, replace(answer, player_id=Anything(), content=Anything()))

    patch.setattr(State, "remember", loosely)


def without_looking_whose_land_it_is(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(land, "plots_in", lambda *_: ())


def without_exclusion(patch: pytest.MonkeyPatch) -> None:
    without_looking_whose_land_it_is(patch)
    take_for_granted(patch, "on one plot")


def without_looking_into_the_wallet(patch: pytest.MonkeyPatch) -> None:
    def posted(ledger: Ledger, legs: Iterable[tuple[int, int]]) -> list[Post]:
        posts: list[Post] = []
        after: dict[int, int] = {}
        for account, amount in legs:
            after[account] = after.get(account, ledger.balance(account)) + amount
            posts.append(Post(account, amount, after[account]))
        return posts

    patch.setattr(Ledger, "posted", posted)


def without_books_over_wallets(patch: pytest.MonkeyPatch) -> None:
    without_looking_into_the_wallet(patch)
    patch.setattr(RunningBooks, "look", lambda *_: None)


def without_the_least_balance(patch: pytest.MonkeyPatch) -> None:
    without_books_over_wallets(patch)
    take_for_granted(patch, "account ")


def with_grants_out_of_nothing(patch: pytest.MonkeyPatch) -> None:
    """A rule that is wrong."""
    legs_with_grant = land.legs_with_grant

    def grant(*what: Any) -> list[tuple[int, int]]:
        return [leg for leg in legs_with_grant(*what) if leg[0] != TREASURY]

    patch.setattr(land, "legs_with_grant", grant)


def without_adding_up_postings(patch: pytest.MonkeyPatch) -> None:
    with_grants_out_of_nothing(patch)
    without_looking_into_the_wallet(patch)


def without_books_over_sums(patch: pytest.MonkeyPatch) -> None:
    with_grants_out_of_nothing(patch)
    without_books_over_wallets(patch)


def without_the_sum_of_postings(patch: pytest.MonkeyPatch) -> None:
    without_books_over_sums(patch)
    take_for_granted(patch, "postings that")


def take_for_granted(patch: pytest.MonkeyPatch, trouble: str) -> None:
    """One of the database's constraints is not there."""
    demand = disk._demand
    patch.setattr(disk, "_demand", lambda holds, text: demand(holds or trouble in text, text))


@pytest.mark.parametrize(
    ("remove", "finding"),
    [
        (without_epoch_check, r"was written by epoch \d+, after epoch"),
        (without_last_seq_check, "does not follow"),
        (without_looking_for_answers, "does action .* again|is refused now"),
        (without_comparing_what_is_asked, "is another"),
        (without_answers_in_memory, "does action .* again|is refused now"),
        (without_withholding, "is the last one stored|is told, which was never durable"),
        (without_withholding_refusals, r"is refused \(.*never durable"),
        (without_withholding_what_is_asked, "(is answered|is refused) .*, which was never durable"),
        (without_room, "ahead of the disk"),
        (without_the_journals_age, "writes on"),
        (without_keeping_until_stored, "does not follow"),
        (without_waiting_for_the_commit, "is the last one stored|is told, which was never durable"),
        (without_an_end_to_waiting, "was not told UNAVAILABLE"),
        (without_an_end_to_questions, "was not told UNAVAILABLE"),
        (without_remembering_who_was_refused, "twice"),
        (without_the_last_parcel_id, "last parcel_id"),
        (without_the_clock_of_entries, "begins with tick"),
        (without_recalling_what_is_built, "other surfaces"),
        (without_doubting_what_another_start_told, r"takes .* for built in"),
        (without_telling_what_is_built, "tells nobody what was built"),
        (without_recalling_what_is_for_sale, "other sales"),
        (without_telling_of_sales, "tells nobody of sales"),
        (without_the_fee, "it moves"),
        (without_keeping_what_is_for_sale, "is of what its seller has not|changed though it is for sale"),
        (without_looking_at_what_was_inspected, "is sold otherwise than it was offered"),
        (without_giving_back_what_is_outbid, "closes the market: holds of .* in escrow"),
        (without_a_least_step, r"player \d+ bids, and after"),
        (without_a_limit_to_late_bids, "moves the end from"),
        (without_a_reserve, "is sold to|is answered .* never durable"),
        (without_time_to_come_back, "ends an auction .* after its start"),
        (without_keeping_maxima_secret, "is answered .*maximum.* never durable"),
        (without_keeping_raises_secret, "is said to look otherwise"),
        (without_comparing_in_memory, "which is another"),
        (without_looking_whose_land_it_is, "flusher broke: StoreRefused.*parcels .* on one plot"),
        (without_exclusion, "has two owners"),
        (without_looking_into_the_wallet, "closes the market: account .* holds -"),
        (without_books_over_wallets, "flusher broke: StoreRefused.*account .* at -"),
        (without_the_least_balance, r"entry \d+: account .* has -"),
        (with_grants_out_of_nothing, "acts broke: Breach.*postings sum to"),
        (without_adding_up_postings, "closes the market: "),
        (without_books_over_sums, "flusher broke: StoreRefused.*postings that do not sum to zero"),
        (without_the_sum_of_postings, "its postings do not sum to zero"),
    ],
)
def test_without_this_guard_a_seed_fails(
    remove: Remove, finding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In some seed this is the first thing found; rules that were taken out may show in other ways, too."""
    remove(monkeypatch)
    found = []
    for seed in (*RARE, *SEEDS):
        outcome = Town(seed, ACTIONS).run()
        found += outcome.violations[:1]
        if found and re.search(finding, found[-1]):
            return
    pytest.fail(f"no seed finds it; what they found: {found}")


def test_with_all_guards_no_seed_fails() -> None:
    assert [outcome for outcome in (Town(seed, ACTIONS).run() for seed in SEEDS) if outcome.violations] == []
