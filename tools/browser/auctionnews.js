// What becomes of auctions: known land follows, and who sells, leads or led until now is told. Who is concerned and sees the land hears
// of everything twice, so words are for the first time.

import { bidNews, endNews, laterNews } from "./auction.js";
import { nameOf } from "./parcel.js";
import { SaleEnd } from "./protocol.js";

export class AuctionNews {
  /**
   * `on`: request(name, fields, otherwise), tell(words, parcel to be looked at, or null), listed(parcel_id) -> a parcel that is not
   * around me, or null, traded(parcel_id, opened) when it is sold otherwise than before.
   */
  constructor(land, on) {
    this.land = land;
    this.on = on;
    this.leading = new Set(); // auction_ids in which I lead, as far as I was told
    this.told = new Set(); // what was heard of: an auction_id with a seq, or with "over"
  }

  /** The message `auction_opened`. */
  opened(message) {
    this.land.auctioned(message);
    this.on.traded(message.auction.parcel_id, true);
  }

  /** The message `auction_bid`. */
  bid(message) {
    const { auction_id, seq, bids, leader_id } = message;
    const before = this.before(message);
    const { was, sells } = before;
    this.land.bidden(message);
    this.on.traded(message.parcel_id, false);
    if (!this.isFirst(auction_id, seq) || seq < was?.seq) return;
    if (leader_id === this.land.me) this.leading.add(auction_id);
    else this.leading.delete(auction_id);
    const raised = leader_id === this.land.me && was?.bids === bids; // I did it: nobody else has bid
    if (!raised || sells) this.say(message, before, bidNews);
  }

  /** The message `auction_extended`. That a bid moved the end was told with the bid. */
  extended(message) {
    const before = this.before(message);
    this.land.bidden(message);
    this.on.traded(message.parcel_id, false);
    if (this.isFirst(message.auction_id, message.seq)) this.say(message, before, (_, called, part) => laterNews(called, part));
  }

  /** The message `auction_ended`. */
  ended(message) {
    const before = this.before(message);
    this.land.unauctioned(message);
    this.on.traded(message.parcel_id, false);
    this.leading.delete(message.auction_id);
    if (!this.isFirst(message.auction_id, "over")) return;
    this.say(message, before, async (over, called, part) => endNews(over, called, await this.winnerOf(over, before), part));
  }

  /** I bought it at once, as my own answer says; perhaps it was told already. */
  won(parcel, auctionId, price) {
    if (!this.isFirst(auctionId, "over")) return;
    this.on.tell(endNews({ end: SaleEnd.SOLD, price, winner_id: this.land.me }, nameOf(parcel), null, { me: this.land.me }), null);
  }

  isFirst(auctionId, what) {
    const key = `${auctionId} ${what}`;
    const first = !this.told.has(key);
    this.told.add(key);
    return first;
  }

  /**
   * What was known when a message came: the parcel, its auction, and my part in it. Of land that is not around me only those are told
   * who have part in it; while one looks around nobody can say what that is.
   */
  before({ auction_id, parcel_id, seller_id }) {
    const { me, known, due, looking } = this.land;
    const parcel = known.get(parcel_id) ?? this.on.listed(parcel_id);
    const was = parcel?.auction?.auction_id === auction_id ? parcel.auction : null;
    const sells = (seller_id ?? parcel?.owner_id) === me;
    const away = !known.has(parcel_id) && !due && !looking;
    return { parcel, was, sells, away, led: this.leading.has(auction_id) || was?.leader_id === me };
  }

  /** Says it in words of (message, name of the parcel, part), unless it does not concern me. */
  async say(message, before, wordsOf) {
    const parcel = before.parcel ?? (before.away ? await this.mine(message.parcel_id) : null);
    const sells = before.sells || parcel?.owner_id === this.land.me;
    const part = { me: this.land.me, sells, led: before.led || (before.away && !sells), bids: before.was?.bids ?? Number(message.price > 0) };
    const words = await wordsOf(message, nameOf(parcel ?? message), part);
    if (words !== null) this.on.tell(words, parcel);
  }

  /** A parcel of mine, wherever it is; null where it is not mine. */
  async mine(parcelId) {
    const page = await this.on.request("land_mine", { after: parcelId - 1 }, () => null);
    return page?.parcels.find(({ parcel_id }) => parcel_id === parcelId) ?? null;
  }

  async winnerOf({ winner_id }, { was }) {
    if (winner_id === null || winner_id === this.land.me) return null;
    if (was?.leader_id === winner_id) return was.leader_name;
    return (await this.on.request("account_profile", { player_id: winner_id }, () => null))?.name ?? "Somebody";
  }
}
