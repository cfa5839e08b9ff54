// One window at a time: `exclusively(name, work)` does some work while no other window of this origin does work of that name.
//
// Web Locks do it, which a browser offers only to pages that came safely (https, or this machine). Elsewhere a note in IndexedDB stands
// in: one transaction looks for somebody else's and writes one's own, and the browser lets no two of them run into each other. A window
// that went away with the lock leaves a note that runs out.

const NOTE_MS = 15000; // longer than any work here takes
const LOOK_MS = 40; // between two looks at somebody else's

/** What `work` gives. */
export function exclusively(name, work) {
  return navigator.locks ? navigator.locks.request(name, work) : withNote(name, work);
}

async function withNote(name, work) {
  const notes = await openNotes();
  const owner = String(Math.random());
  try {
    while (!(await take(notes, name, owner))) await pause(LOOK_MS);
    try {
      return await work();
    } finally {
      await giveBack(notes, name, owner);
    }
  } finally {
    notes.close();
  }
}

function openNotes() {
  const opening = indexedDB.open("landworld locks", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("notes");
  return new Promise((resolve, reject) => {
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

const take = (notes, name, owner) =>
  amend(notes, name, (note) => (stands(note) ? note : { owner, untilMs: Date.now() + NOTE_MS })).then((note) => note.owner === owner);

const giveBack = (notes, name, owner) => amend(notes, name, (note) => (note?.owner === owner ? undefined : note));

/** Puts what `change` makes of a note in its place; undefined is none. Gives what stands there now. */
function amend(notes, name, change) {
  const transaction = notes.transaction("notes", "readwrite");
  const store = transaction.objectStore("notes");
  const reading = store.get(name);
  let note;
  reading.onsuccess = () => {
    note = change(reading.result);
    if (note === undefined) store.delete(name);
    else if (note !== reading.result) store.put(note, name);
  };
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(note);
    transaction.onabort = () => reject(transaction.error);
  });
}

function stands(note) {
  const now = Date.now();
  return note && note.untilMs > now && note.untilMs < now + 2 * NOTE_MS; // one from further ahead is of a clock that was wrong
}

const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
