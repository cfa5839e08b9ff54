// One window at a time: `exclusively(name, work)` does some work while no other window of this origin does work of that name.
//
// Web Locks do it, which a browser offers only to pages that came safely (https, or this machine). Elsewhere a note (notes.js) stands in:
// one transaction looks for somebody else's and writes one's own, and no two of them run into each other. A window that went away with the
// lock leaves a note that runs out.

import { amend } from "./notes.js";

const NOTE_MS = 15000; // longer than any work here takes
const LOOK_MS = 40; // between two looks at somebody else's

/** What `work` gives. */
export function exclusively(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : withNote(`${name} lock`, work);
}

async function withNote(key, work) {
  const owner = String(Math.random());
  while (!(await take(key, owner))) await pause(LOOK_MS);
  try {
    return await work();
  } finally {
    await amend(key, (note) => (note?.owner === owner ? undefined : note));
  }
}

const take = (key, owner) =>
  amend(key, (note) => (stands(note) ? note : { owner, untilMs: Date.now() + NOTE_MS })).then((note) => note.owner === owner);

function stands(note) {
  const now = Date.now();
  return note && note.untilMs > now && note.untilMs < now + 2 * NOTE_MS; // one from further ahead is of a clock that was wrong
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
