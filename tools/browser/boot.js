// Loads the client and starts it; says so when that fails. It has no imports of its own, so that it works when the server went away
// while the page was loading.

const byId = (id) => document.getElementById(id);

function fail(title, words) {
  byId("entrance").classList.add("silent");
  byId("failure-title").textContent = title;
  byId("failure-words").textContent = words;
  byId("failure").hidden = false;
  byId("reload").addEventListener("click", () => location.reload());
}

function notLoaded(error) {
  fail("The page did not load completely", "The server went away while it was sending it, or the line was lost. Try again in a moment.");
  if (!(error instanceof TypeError)) throw error; // a TypeError is a file that did not come; all else is a mistake in one
}

function notStarted(error) {
  fail(error.title ?? "The world could not be opened", error.message);
  if (!error.title) throw error; // nobody foresaw it
}

import("./main.js").then(({ start }) => start().catch(notStarted), notLoaded);
