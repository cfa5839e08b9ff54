// How others see me: name, look and a few words, with the figure as it would be.

import { asking, entry } from "./asking.js";
import { h } from "./dom.js";
import { dressedAs, LOOK } from "./figures.js";
import { LIMITS, RefusalCode } from "./protocol.js";

const FIGURE_PX = 132;
const STYLE_PX = 96; // of which style.css shows the head

/** The form; `save(fields)` asks for what has changed, `figureOf(look, height)` draws. */
export function profileForm({ name, look, bio }, { save, figureOf }) {
  let worn = look;
  const figure = h("div", { class: "figure-of", "aria-hidden": "true" }, figureOf(worn, FIGURE_PX));
  const wear = (part, value) => {
    worn = dressedAs(worn, part, value);
    figure.replaceChildren(figureOf(worn, FIGURE_PX));
  };
  return asking({
    id: "profile",
    before: [figure, ...LOOK.map((part) => choices(part, look, wear, figureOf))],
    entries: [
      entry("Name", { name: "name", autocomplete: "nickname", spellcheck: "false", required: true, maxlength: LIMITS.name_chars_max, value: name }, "you sign in with it, too"),
      bioEntry(bio),
    ],
    words: "Save",
    about: { [RefusalCode.NAME_TAKEN]: "name", [RefusalCode.BAD_REQUEST]: "name" },
    send: (values) => save({
      name: values.name === name ? null : values.name,
      look: worn === look ? null : worn,
      bio: values.bio === bio ? null : values.bio,
    }),
  });
}

function bioEntry(bio) {
  const made = entry("About you", { name: "bio", rows: 3, maxlength: LIMITS.bio_chars_max, autocomplete: "off" });
  made.input.defaultValue = bio;
  return made;
}

/** One part of the look: a row of colours, or of ways to wear hair. */
function choices(part, look, wear, figureOf) {
  const { key, label, values } = part;
  return h("fieldset", { class: "choices" }, h("legend", {}, label), ...values.map(({ value, words, colour }) => {
    const radio = h("input", { type: "radio", name: key, value, "aria-label": words, checked: part.of(look) === value, onchange: () => wear(part, value) });
    const shown = colour === undefined ? figureOf(dressedAs(look, part, value), STYLE_PX) : h("i", { style: `background: ${colour}` });
    return h("label", { title: words, class: colour === undefined ? "style" : "colour" }, radio, shown);
  }));
}
