// Genes: a search box for features.

import { json } from "./api.js";
import { count, h, integer } from "./dom.js";

const PAUSE = 90;

// A combobox; it calls `chosen({number, name})` with the selected feature.
export function geneBox(uuid, total, chosen) {
  let found = [];
  let active = -1;
  let timer;
  let asked = null;
  const list = h("ul", { class: "options", role: "listbox", id: "gene-options", "aria-label": "Features", hidden: true });
  const note = h("p", { class: "unseen", role: "status" });
  const input = h("input", {
    id: "gene", type: "text", role: "combobox", autocomplete: "off", autocapitalize: "off", spellcheck: "false",
    placeholder: `Search ${count(total, "feature")}`, "aria-autocomplete": "list", "aria-expanded": "false",
    "aria-controls": "gene-options",
    oninput: () => { clearTimeout(timer); timer = setTimeout(look, PAUSE); },
    onfocus: () => { input.select(); look(); },
    onblur: () => { clearTimeout(timer); asked?.abort(); close(); },
    onkeydown: key,
  });

  async function look() {
    asked?.abort();
    asked = new AbortController();
    try {
      const query = encodeURIComponent(input.value);
      const answer = await json(`study/${uuid}/features?q=${query}`, { signal: asked.signal });
      if (document.activeElement === input) open(answer);
    } catch (error) {
      if (error.name !== "AbortError") note.textContent = error.message;
    }
  }

  function open({ matches, total: all }) {
    found = matches;
    active = matches.length && input.value ? 0 : -1;
    const typed = input.value.trim().toLowerCase();
    const options = matches.map(({ name }, i) => {
      const at = typed ? name.toLowerCase().indexOf(typed) : -1;
      const parts = at < 0 ? [name] : [name.slice(0, at), h("mark", {}, name.slice(at, at + typed.length)), name.slice(at + typed.length)];
      // Runs before the field loses the focus, which would close the list.
      return h("li", { role: "option", id: `gene-${i}`, onpointerdown: (event) => { event.preventDefault(); take(i); } }, ...parts);
    });
    const rest = all - matches.length;
    const last = !all ? "No feature with this name" : rest > 0 ? `and ${integer(rest)} more` : null;
    list.replaceChildren(...options, ...(last ? [h("li", { class: "quiet", role: "presentation" }, last)] : []));
    list.hidden = false;
    input.setAttribute("aria-expanded", "true");
    note.textContent = count(all, "match", "matches");
    mark();
  }

  function close() {
    list.hidden = true;
    input.setAttribute("aria-expanded", "false");
    input.removeAttribute("aria-activedescendant");
  }

  function mark() {
    [...list.querySelectorAll("[role=option]")].forEach((option, i) => {
      option.setAttribute("aria-selected", String(i === active));
      if (i === active) option.scrollIntoView({ block: "nearest" });
    });
    if (active >= 0) input.setAttribute("aria-activedescendant", `gene-${active}`);
    else input.removeAttribute("aria-activedescendant");
  }

  function take(i) {
    input.value = found[i].name;
    close();
    chosen(found[i]);
  }

  function key(event) {
    if (event.key === "Escape") return close();
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) {
      event.preventDefault();
      if (list.hidden) return look();
      active = found.length ? (active + step + found.length) % found.length : -1;
      return mark();
    }
    if (event.key !== "Enter") return;
    event.preventDefault();
    if (!list.hidden && active >= 0) take(active);
  }

  return {
    element: h("div", { class: "gene" }, h("label", { for: "gene" }, "Gene"), input, list, note),
    show(name) { input.value = name; },
  };
}
