// A panel: the one beside the map, for land, the wallet or the account, and the one at the gate (gate.js). What a person has typed and not sent stays when the panel is drawn anew, and so do
// the focus and what was unfolded.

import { h } from "./dom.js";

const byId = (id) => document.getElementById(id);
const SURE_MS = 6000; // so long a second press counts

export class Panel {
  /** The element `id` of index.html, with its title, body and perhaps close button; `on.closed(name)` when a person closes it. */
  constructor(id, on) {
    this.root = byId(id);
    this.body = byId(`${id}-body`);
    this.title = byId(`${id}-title`);
    this.name = null; // of what is shown
    byId(`${id}-close`)?.addEventListener("click", () => on.closed(this.name));
    this.root.addEventListener("keydown", ({ key, target }) => key === "Escape" && target.matches("input, textarea, select") && on.closed?.(this.name)); // elsewhere input.js hears it
  }

  /** Shows elements under a title. `key` tells whether it is still about the same thing. */
  show(name, title, key, nodes) {
    const drafts = key === this.key ? this.drafts() : null;
    this.name = name;
    this.key = key;
    this.root.hidden = false;
    this.title.textContent = title;
    this.body.replaceChildren(...nodes.filter((node) => node !== null));
    if (drafts) this.restore(drafts);
    else this.toTop();
  }

  toTop() {
    this.body.scrollTop = 0;
  }

  /** Puts a person with a keyboard to the first field or button. On a phone it would cover half of the screen with one. */
  focus() {
    if (matchMedia("(pointer: fine)").matches) this.body.querySelector(".entry input, button")?.focus({ preventScroll: true });
  }

  /** How much of the screen it covers from below, in pixels: on a phone it is as wide as that. */
  get coversFromBelow() {
    const { width, height } = this.root.getBoundingClientRect();
    return width >= innerWidth ? height : 0;
  }

  close() {
    this.name = this.key = null;
    if (this.root.contains(document.activeElement)) document.activeElement.blur(); // at once: the next key is for the map
    this.root.hidden = true;
    this.body.replaceChildren();
  }

  /** What was typed into these fields is done: they show what they began with. */
  settle(...names) {
    for (const field of this.fields()) {
      if (!names.includes(field.name)) continue;
      if (field.type === "checkbox") field.checked = field.defaultChecked;
      else field.value = begun(field);
      refilled(field);
    }
  }

  /** What has a name is a person's to fill in until it is sent. */
  fields() {
    return [...this.body.querySelectorAll("[name]")];
  }

  drafts() {
    const focus = this.body.contains(document.activeElement) ? document.activeElement : null;
    return {
      values: new Map(this.fields().filter((field) => field.value !== begun(field)).map(({ name, value }) => [name, value])),
      checked: new Map(this.fields().filter(({ checked, defaultChecked }) => checked !== defaultChecked).map(({ name, checked }) => [name, checked])),
      open: new Set([...this.body.querySelectorAll("details[open]")].map(({ id }) => id)),
      focus: focus?.name || focus?.id || null,
      caret: [focus?.selectionStart ?? null, focus?.selectionEnd ?? null],
    };
  }

  restore({ values, checked, open, focus, caret }) {
    for (const details of this.body.querySelectorAll("details")) details.open = open.has(details.id);
    for (const field of this.fields()) {
      if (field.type === "checkbox" && checked.has(field.name)) field.checked = checked.get(field.name);
      else if (values.has(field.name)) field.value = values.get(field.name);
      else continue;
      refilled(field);
    }
    const focused = focus && (this.body.querySelector(`[name="${focus}"]`) ?? this.body.querySelector(`#${focus}`));
    focused?.focus();
    if (caret[0] !== null) focused?.setSelectionRange?.(...caret);
  }
}

/** What stood in a field before anybody filled it in. */
const begun = (field) => field.defaultValue ?? ([...field.options].find(({ defaultSelected }) => defaultSelected) ?? field.options[0])?.value;

/** Tells what depends on a field, by the event `refilled`, that it is another though no person changed it: `input` says that one did. */
const refilled = (field) => field.dispatchEvent(new Event("refilled", { bubbles: true }));

/** Calls `follow` now, and whenever fields within an element are others. */
export function following(element, follow) {
  for (const event of ["input", "refilled"]) element.addEventListener(event, follow);
  follow();
}

/** A part that unfolds. */
export function fold(id, title, ...children) {
  return h("details", { id }, h("summary", { id: `${id}-title` }, title), ...children);
}

/** A labelled field. */
export function field(label, input) {
  return h("label", {}, h("span", {}, label), input);
}

/** A form: `send(form)` on Enter or by its button. */
export function form(send, ...children) {
  return h("form", {
    autocomplete: "off",
    onsubmit(event) {
      event.preventDefault();
      send(event.target);
    },
  }, ...children);
}

/** A button that asks once more before it does what cannot be undone. */
export function sure(words, again, press, attributes = { class: "grave" }) {
  let waiting = 0;
  const made = h("button", { type: "button", ...attributes }, words);
  const reset = () => {
    clearTimeout(waiting);
    waiting = 0;
    made.textContent = words;
    made.classList.remove("armed");
  };
  made.addEventListener("click", () => {
    if (waiting) {
      reset();
      press();
      return;
    }
    waiting = setTimeout(reset, SURE_MS);
    made.textContent = again;
    made.classList.add("armed");
  });
  return made;
}
