// Forms that ask the server. While it is asked the button rests; what it refuses is said beside the field that it is about, and where it
// names a time that is counted down. What the browser itself can see, an address without an @, is said in the same place.

import { h } from "./dom.js";
import { LIMITS, RefusalCode } from "./protocol.js";

const WIRE_PASSWORD_CHARS_MAX = 2 * LIMITS.password_chars_max; // what is too long is refused in words, up to here
const UNFORESEEN = "This did not work; try again.";

/** A field and its words. `attributes` are those of the input, or of a textarea where there are `rows`. */
export function entry(label, attributes, hint = "") {
  return { label, hint, input: h(attributes.rows ? "textarea" : "input", attributes), extra: null };
}

/** A field for a name that belongs to a password. */
export const nameEntry = (label, hint) => entry(label, {
  name: "username", autocomplete: "username", autocapitalize: "none", spellcheck: "false", required: true, maxlength: LIMITS.name_chars_max,
}, hint);

export const emailEntry = (label, attributes, hint) => entry(label, { name: "email", type: "email", autocomplete: "email", maxlength: LIMITS.email_chars_max, ...attributes }, hint);

/** A password, which can be shown: one writes it once, and sees what one has written. */
export function passwordEntry(label, name, hint) {
  const made = entry(label, { name, type: "password", autocomplete: name, required: true, maxlength: WIRE_PASSWORD_CHARS_MAX }, hint);
  made.extra = h("button", {
    type: "button", class: "reveal", "aria-pressed": "false", "aria-label": `Show: ${label}`,
    onclick({ currentTarget }) {
      const shown = made.input.type === "password";
      made.input.type = shown ? "text" : "password";
      currentTarget.textContent = shown ? "Hide" : "Show";
      currentTarget.setAttribute("aria-pressed", String(shown));
    },
  }, "Show");
  return made;
}

export const codeEntry = () => entry("Code", { name: "code", autocomplete: "one-time-code", autocapitalize: "characters", spellcheck: "false", required: true, maxlength: LIMITS.code_chars_max }, "from the e-mail");

/** For password managers: whose password the form is about, where that is not asked. */
export const nameFor = (name) => h("input", { name: "username", autocomplete: "username", value: name, hidden: true, readonly: true });

/**
 * The form. `send(values)` asks with what is in the fields, by their names; the Refusal that it throws is said beside the field that
 * `about` names for its code, otherwise above the button. `grave` is for what cannot be undone.
 */
export function asking({ id, entries, words, send, about = {}, before = [], grave = false }) {
  const go = h("button", { type: "submit", class: grave ? "grave" : "main" }, words);
  const rest = new Trouble(`${id}-trouble`, go);
  const rows = entries.map((one) => new Row(id, one, go));
  const values = () => Object.fromEntries(rows.map(({ input }) => [input.name, input.type === "password" || input.name.endsWith("password") ? input.value : input.value.trim()]));
  const rowOf = (code) => rows.find(({ input }) => input.name === about[code]);

  async function submit(event) {
    event.preventDefault();
    for (const { trouble } of [...rows, { trouble: rest }]) trouble.clear();
    const wrong = rows.find(({ input }) => !input.checkValidity());
    if (wrong) {
      wrong.say(wrong.input.validationMessage);
      return;
    }
    go.disabled = true;
    try {
      await send(values());
      go.disabled = false;
    } catch (refusal) {
      go.disabled = false;
      if (refusal.code === undefined) throw refusal;
      const row = rowOf(refusal.code);
      if (row) row.say(refusal.message || UNFORESEEN, refusal.retryAfterMs);
      else rest.say(refusal.message || UNFORESEEN, refusal.retryAfterMs);
    }
  }
  return h("form", { id, class: "asking", novalidate: true, autocomplete: "on", onsubmit: submit }, ...before, ...rows.map(({ element }) => element), rest.element, go);
}

/** A field with its label, hint and trouble. */
class Row {
  constructor(formId, { label, hint, input, extra }, go) {
    this.input = input;
    input.id = `${formId}-${input.name}`;
    this.trouble = new Trouble(`${input.id}-trouble`, go);
    input.setAttribute("aria-describedby", this.trouble.element.id);
    input.addEventListener("input", () => this.trouble.clear());
    this.trouble.onclear = () => input.removeAttribute("aria-invalid");
    this.element = h("div", { class: "entry" },
      h("label", { for: input.id }, h("span", {}, label, hint ? h("i", {}, hint) : "")),
      h("div", { class: "held" }, input, extra),
      this.trouble.element);
  }

  say(text, waitMs) {
    this.trouble.say(text, waitMs);
    this.input.setAttribute("aria-invalid", "true");
    this.input.focus();
  }
}

/** What is wrong, in words; while it says how long to wait, the button `go` rests. */
class Trouble {
  constructor(id, go) {
    this.go = go;
    this.element = h("p", { id, class: "trouble", role: "alert", hidden: true });
    this.onclear = () => {};
    this.counting = 0;
  }

  say(text, waitMs = null) {
    this.clear();
    this.element.hidden = false;
    this.element.textContent = text;
    if (waitMs === null) return;
    const left = h("span", { "aria-hidden": "true" }); // the words are read out once, not every second
    const atMs = performance.now() + waitMs;
    this.element.append(" ", left);
    this.go.disabled = true;
    const tell = () => {
      const seconds = Math.ceil((atMs - performance.now()) / 1000);
      if (seconds > 0) left.textContent = `Again in ${waitText(seconds)}.`;
      else this.clear();
    };
    tell();
    this.counting = setInterval(tell, 250);
  }

  clear() {
    if (this.counting) this.go.disabled = false;
    clearInterval(this.counting);
    this.counting = 0;
    this.element.hidden = true;
    this.element.textContent = "";
    this.onclear();
  }
}

const waitText = (seconds) => (seconds < 60 ? `${seconds} s` : `${Math.floor(seconds / 60)} min ${seconds % 60} s`);

/** Where most of what the server refuses about a password belongs. */
export const PASSWORD_TROUBLES = (name) => ({
  [RefusalCode.BAD_CREDENTIALS]: name,
  [RefusalCode.LOCKED]: name,
  [RefusalCode.WEAK_PASSWORD]: name,
});
