// Bars: a field or gene of a study without an embedding.

import { count, h, integer, percent, short } from "./dom.js";
import { numberBars } from "./legend.js";
import { css, labelColor } from "./palette.js";

const MOST_BARS = 60;
const BINS = 60;

export function bars(shown, cells) {
  return shown.kind === "label" ? labelBars(shown, cells) : numberChart(shown);
}

function labelBars({ name, labels, counts }, cells) {
  const order = labels.map((_, code) => code).sort((one, other) => counts[other] - counts[one]);
  const most = Math.max(1, counts[order[0]] ?? 1);
  const strips = [];
  const rows = order.slice(0, MOST_BARS).map((code) => {
    const strip = h("span", { class: "strip" });
    strip.style.width = `${(100 * counts[code]) / most}%`;
    strips.push([strip, code]);
    return h("tr", {}, h("th", { scope: "row" }, labels[code] || "(empty)"), h("td", { class: "wide" }, strip),
      h("td", { class: "number" }, integer(counts[code])), h("td", { class: "number quiet" }, percent(counts[code], cells)));
  });
  const more = labels.length - rows.length;
  const paint = () => strips.forEach(([strip, code]) => { strip.style.background = css(labelColor(code)); });
  paint();
  return {
    element: h("div", { class: "chart" }, h("table", {}, h("caption", {}, name), h("tbody", {}, ...rows)),
      more > 0 ? h("p", { class: "quiet" }, `and ${count(more, "more label")}`) : null),
    update: paint,
  };
}

function numberChart({ name, values, range }) {
  if (!range) return { element: h("p", { class: "quiet" }, `No cell has a value of ${name}.`), update() {} };
  const drawn = numberBars(values, range, BINS, 200);
  return {
    element: h("div", { class: "chart" }, h("h3", {}, name), drawn.element,
      h("div", { class: "ticks" }, ...[0, 0.25, 0.5, 0.75, 1].map((share) => {
        const value = range.low + share * (range.high - range.low);
        return h("span", {}, share === 1 && range.most > range.high ? `≥ ${short(value)}` : short(value));
      })),
      h("p", { class: "quiet" }, "Number of cells by value, on a square root scale.")),
    update: drawn.update,
  };
}
