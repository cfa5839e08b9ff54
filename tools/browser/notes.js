// Notes that all windows of this origin share, in IndexedDB: whoever looks after another has written sees what was written. localStorage
// promises no such thing: what one window stores there may reach another after a message or a lock did.

/** Puts what `change` makes of a note in its place, in one transaction; undefined is none. Gives what stands there now. */
export async function amend(key, change) {
  const notes = await openNotes();
  try {
    return await amendIn(notes.transaction("notes", "readwrite"), key, change);
  } finally {
    notes.close();
  }
}

function openNotes() {
  const opening = indexedDB.open("landworld notes", 1);
  opening.onupgradeneeded = () => opening.result.createObjectStore("notes");
  return new Promise((resolve, reject) => {
    opening.onsuccess = () => resolve(opening.result);
    opening.onerror = () => reject(opening.error);
  });
}

function amendIn(transaction, key, change) {
  const store = transaction.objectStore("notes");
  const reading = store.get(key);
  let note;
  reading.onsuccess = () => {
    note = change(reading.result);
    if (note === undefined) store.delete(key);
    else if (note !== reading.result) store.put(note, key);
  };
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve(note);
    transaction.onabort = () => reject(transaction.error);
  });
}
