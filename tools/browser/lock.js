// One window at a time: `exclusively(name, work)` does some work while no other window of this origin does work of that name.
//
// Web Locks do it, which a browser offers only to pages that came safely (https, or this machine). Elsewhere a note in localStorage
// stands in: who finds none writes one, waits for as long as others may take to write theirs over it, and has the lock if the note is
// still its own. A window that went away with the lock leaves a note that runs out.

const NOTE_MS = 15000; // longer than any work here takes
const SETTLE_MS = 60; // between writing a note and believing it
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
    if (read(key)?.owner === owner) localStorage.removeItem(key);
  }
}

async function take(key, owner) {
  const note = read(key);
  if (note && note.untilMs > Date.now() && note.untilMs < Date.now() + 2 * NOTE_MS) return false; // one from further ahead is of a clock that was wrong
  localStorage.setItem(key, JSON.stringify({ owner, untilMs: Date.now() + NOTE_MS }));
  await pause(SETTLE_MS);
  return read(key)?.owner === owner;
}

const read = (key) => JSON.parse(localStorage.getItem(key));
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
