// DOM: creating elements. Data become text nodes or attributes, never markup.

const SVG = "http://www.w3.org/2000/svg";

export function h(tag, attributes = {}, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

export function svg(tag, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...children.flat().filter(Boolean));
  return element;
}

// Replace all children; null, false and empty ones are skipped.
export function show(place, ...children) {
  place.replaceChildren(...children.filter(Boolean));
}

export function say(text) {
  document.getElementById("say").textContent = text;
}

const whole = new Intl.NumberFormat("en");

export function count(number, one, many = `${one}s`) {
  return `${whole.format(number)} ${number === 1 ? one : many}`;
}

export function integer(number) {
  return whole.format(number);
}

// A number of any size in a few characters.
export function short(number) {
  if (!Number.isFinite(number)) return "–";
  const size = Math.abs(number);
  if (size !== 0 && (size < 0.001 || size >= 1e7)) return number.toExponential(1).replace("e+", "e");
  if (Number.isInteger(number)) return whole.format(number);
  return whole.format(Number(number.toPrecision(size >= 1000 ? 4 : 3)));
}

export function percent(part, all) {
  if (!all) return "0 %";
  const share = (100 * part) / all;
  return share > 0 && share < 1 ? "< 1 %" : `${Math.round(share)} %`;
}

export function bytes(size) {
  if (size < 1e6) return `${Math.max(1, Math.round(size / 1e3))} kB`;
  return `${size < 1e7 ? (size / 1e6).toFixed(1) : Math.round(size / 1e6)} MB`;
}

export function moment(iso) {
  return iso.slice(0, 16).replace("T", " ");
}
