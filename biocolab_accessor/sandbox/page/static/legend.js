// Legend: the meaning of the colors, and the highlighted labels.

import { histogram } from "./coloring.js";
import { count, h, integer, percent, short, svg } from "./dom.js";
import { css, labelColor, missing, ramp } from "./palette.js";

const MOST_ENTRIES = 1000;
const FILTER_FROM = 25;
const BINS = 48;

// A list of labels; it calls `changed` when `chosen` has changed.
export function labelLegend({ labels, counts, missing: none }, chosen, changed, total) {
  const most = Math.max(1, ...counts.slice(0, 65_535));
  const clear = h("button", { class: "plain", type: "button", onclick: () => { chosen.clear(); changed(); } }, "Show all");
  const entries = labels.slice(0, MOST_ENTRIES).map((label, code) => {
    const swatch = h("span", { class: "swatch" });
    const share = h("span", { class: "share" });
    share.style.width = `${(100 * counts[code]) / most}%`;
    return {
      label, code, swatch, share,
      element: h("button", {
        type: "button", class: "entry", "aria-pressed": "false", title: `${label}: ${percent(counts[code], total)} of cells`,
        onclick: () => { if (!chosen.delete(code)) chosen.add(code); changed(); },
      }, swatch, h("span", { class: "label" }, label || "(empty)", share), h("span", { class: "number" }, integer(counts[code]))),
    };
  });
  const list = h("ul", { class: "entries", onkeydown: walk }, ...entries.map(({ element }) => h("li", {}, element)));
  const filter = h("input", {
    type: "search", placeholder: "Filter labels", "aria-label": "Filter labels", autocomplete: "off", spellcheck: "false",
    oninput: () => {
      const typed = filter.value.trim().toLowerCase();
      for (const entry of entries) entry.element.parentElement.hidden = !entry.label.toLowerCase().includes(typed);
    },
  });
  const more = labels.length - MOST_ENTRIES;
  const rest = [more > 0 && `${integer(more)} more labels`, none > 0 && `${count(none, "cell")} without a label`];
  const notes = rest.filter(Boolean).map((text) => h("p", { class: "quiet" }, text));
  const swatch = h("span", { class: "swatch" });
  if (none) notes.at(-1).prepend(swatch);
  const state = h("span", { class: "quiet" });
  const element = h("div", { class: "legend" },
    h("div", { class: "legend-head" }, state, clear), labels.length >= FILTER_FROM ? filter : null, list, ...notes);
  function update() {
    for (const { element: button, code, swatch: color, share } of entries) {
      const stands = !chosen.size || chosen.has(code);
      button.setAttribute("aria-pressed", String(chosen.has(code)));
      button.classList.toggle("off", !stands);
      color.style.background = share.style.background = css(labelColor(code));
    }
    swatch.style.background = css(missing());
    clear.hidden = !chosen.size;
    state.textContent = chosen.size ? `${chosen.size} of ${count(labels.length, "label")}` : count(labels.length, "label");
  }
  update();
  return { element, update };
}

function walk(event) {
  const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!step) return;
  const shown = [...event.currentTarget.querySelectorAll("li:not([hidden]) button")];
  event.preventDefault();
  shown[shown.indexOf(document.activeElement) + step]?.focus();
}

// A color bar below a histogram in the same colors.
export function numberLegend({ values, range, isGene }) {
  if (!range) return { element: h("p", { class: "legend quiet" }, "No cell has a value."), update() {} };
  const bar = h("div", { class: "bar" });
  const bars = numberBars(values, range, BINS, 56);
  const none = values.length - range.known;
  const facts = [
    isGene ? ["Expressed in", `${integer(range.above)} of ${count(range.known, "cell")}, ${percent(range.above, range.known)}`] : null,
    ["Minimum", short(range.low)], ["Median", short(range.median)], ["Maximum", short(range.most)],
    none ? ["Without a value", count(none, "cell")] : null,
  ].filter(Boolean);
  const top = range.most > range.high ? `≥ ${short(range.high)}` : short(range.high);
  const element = h("div", { class: "legend" },
    bars.element, bar,
    h("div", { class: "ticks" }, h("span", {}, short(range.low)), h("span", {}, short((range.low + range.high) / 2)), h("span", {}, top)),
    h("dl", { class: "facts" }, ...facts.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])));
  function update() {
    const colors = ramp();
    bar.style.background = `linear-gradient(to right, ${colors.filter((_, i) => i % 15 === 0).map(css).join(", ")})`;
    bars.update();
  }
  update();
  return { element, update };
}

// Heights use a square root scale, so that rare values stay visible.
export function numberBars(values, range, bins, height) {
  const counts = histogram(values, range, bins);
  const most = Math.sqrt(Math.max(1, ...counts));
  const rects = counts.map((number, i) => {
    const tall = number ? Math.max(1, (height * Math.sqrt(number)) / most) : 0;
    const from = range.low + ((range.high - range.low) * i) / bins;
    return svg("rect", { x: i + 0.06, y: height - tall, width: 0.88, height: tall },
      svg("title", {}, `from ${short(from)}: ${count(number, "cell")}`));
  });
  const element = svg("svg", {
    class: "histogram", viewBox: `0 0 ${bins} ${height}`, preserveAspectRatio: "none", role: "img",
    "aria-label": `Histogram from ${short(range.low)} to ${short(range.high)}, square root scale`,
  }, ...rects);
  function update() {
    const colors = ramp();
    rects.forEach((rect, i) => rect.setAttribute("fill", css(colors[Math.round((255 * (i + 0.5)) / bins)])));
  }
  update();
  return { element, update };
}
