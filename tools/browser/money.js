// Money for people: whole poisha on the wire, BDT with two decimals on the screen.

import { LIMITS } from "./protocol.js";

const POISHA = 100;
const AMOUNT = /^(\d{1,13})(?:[.](\d{1,2}))?$/;

/** 123456 is "1,234.56". */
export function amountText(poisha) {
  const size = Math.abs(poisha);
  const whole = Math.floor(size / POISHA).toLocaleString("en-US");
  return `${poisha < 0 ? "−" : ""}${whole}.${String(size % POISHA).padStart(2, "0")}`;
}

export const moneyText = (poisha) => `${amountText(poisha)} BDT`;

/** What a person typed, in poisha; null when it is no amount. */
export function readAmount(text) {
  const found = AMOUNT.exec(text.replaceAll(",", "").trim());
  if (!found) return null;
  const poisha = Number(found[1]) * POISHA + Number((found[2] ?? "").padEnd(2, "0"));
  return poisha <= LIMITS.money_max ? poisha : null;
}
