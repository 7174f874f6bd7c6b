// Fields: a list of a study's metadata fields with short summaries, for choosing one.

import { h, integer, percent, short } from "./dom.js";

const FILTER_FROM = 14;

export function fieldList(fields, cells, chosen) {
  const inputs = fields.map((field, number) => h("input", {
    type: "radio", name: "field", value: number, id: `field-${number}`, onchange: () => chosen(number),
  }));
  const rows = fields.map((field, number) => h("li", {},
    inputs[number],
    h("label", { for: `field-${number}` },
      h("span", { class: "label", title: field.name }, field.name || "(no name)"),
      h("span", { class: "quiet" }, summary(field, cells)))));
  const filter = h("input", {
    type: "search", placeholder: "Filter fields", "aria-label": "Filter fields", autocomplete: "off", spellcheck: "false",
    oninput: () => {
      const typed = filter.value.trim().toLowerCase();
      rows.forEach((row, i) => { row.hidden = !fields[i].name.toLowerCase().includes(typed); });
    },
  });
  return {
    element: h("fieldset", { class: "fields" },
      h("legend", {}, "Metadata ", h("span", { class: "quiet" }, integer(fields.length))),
      fields.length >= FILTER_FROM ? filter : null,
      h("ul", {}, ...rows)),
    show(number) {
      inputs.forEach((input, i) => { input.checked = i === number; });
      const row = rows[number];
      const list = row?.parentElement;
      if (list && (row.offsetTop < list.scrollTop || row.offsetTop + row.offsetHeight > list.scrollTop + list.clientHeight)) {
        list.scrollTop = row.offsetTop - list.clientHeight / 2;
      }
    },
  };
}

function summary(field, cells) {
  const none = field.missing ? `, ${percent(field.missing, cells)} missing` : "";
  if (field.kind === "number") {
    if (!field.spread) return "no values";
    const [least, , most] = field.spread;
    return (least === most ? short(least) : `${short(least)} to ${short(most)}`) + none;
  }
  if (!field.top) return "no labels";
  const [, number] = field.top;
  return `${integer(field.n_labels)} ${field.n_labels === 1 ? "label" : "labels"}, largest ${percent(number, cells)}${none}`;
}
