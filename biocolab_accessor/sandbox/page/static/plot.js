// Plot: cells in two dimensions, with pan, zoom, and a tooltip for the cell under the pointer.

import { h } from "./dom.js";
import { Nearest } from "./nearest.js";
import { plainPoints } from "./points_2d.js";
import { glPoints } from "./points_gl.js";

const REACH = 10;
const MOST_ZOOM = 400;
const HELP = "Scatter plot. Arrow keys move it, plus and minus zoom, 0 shows everything, Enter describes the cell nearest to the center.";

export class Plot {
  // `describe(i)` returns the lines of the tooltip of a cell.
  constructor(describe) {
    this.describe = describe;
    this.names = h("div", { class: "names", "aria-hidden": "true" });
    this.ring = h("div", { class: "ring", hidden: true });
    this.tip = h("div", { class: "tip", hidden: true });
    this.element = h("div", { class: "plot", tabindex: "0", role: "application", "aria-label": HELP },
      this.names, this.ring, this.tip);
    if (!this.drawWith(glPoints)) this.drawWith(plainPoints);
    this.labels = [];
    this.n = 0;
    this.home();
    this.listen();
    new ResizeObserver(() => this.resize()).observe(this.element);
  }

  // Use a renderer if the browser supports it. A canvas works with one kind of context only, so each gets its own.
  drawWith(way) {
    const canvas = h("canvas", { class: "points" });
    const points = way(canvas);
    if (!points) return false;
    this.canvas?.remove();
    Object.assign(this, { canvas, points });
    this.element.prepend(canvas);
    this.element.dataset.renderer = points.kind;
    canvas.addEventListener("webglcontextlost", () => {
      this.drawWith(plainPoints);
      if (this.xy) this.points.setPlaces(this.xy);
      if (this.colors) this.points.setColors(...this.colors);
      this.resize();
    });
    return true;
  }

  // Takes x, y of each cell, with y upwards; returns the number of cells without coordinates.
  setPlaces(sent) {
    const { xy, half, none } = normalized(sent);
    this.xy = xy;
    this.half = half;
    this.n = xy.length / 2;
    this.nearest = new Nearest(xy);
    this.points.setPlaces(xy);
    this.home();
    return none;
  }

  setColors(rgba, order) {
    this.colors = [rgba, order];
    this.points.setColors(rgba, order);
    this.redraw();
  }

  // Names on the plot: {text, x, y, weight}; if two overlap, the heavier one is shown.
  setNames(names) {
    this.labels = names.map((name) => ({ ...name, element: h("span", {}, name.text) }));
    this.names.replaceChildren(...this.labels.map((label) => label.element));
    for (const label of this.labels) {
      label.width = label.element.offsetWidth;
      label.height = label.element.offsetHeight;
    }
    this.redraw();
  }

  home() {
    this.zoom = 1;
    this.x = 0;
    this.y = 0;
    this.redraw();
  }

  // Pixels per unit; at zoom 1 everything is visible.
  get scale() {
    const [w, t] = this.half ?? [1, 1];
    const room = Math.min((this.width || 1) / (2 * w), (this.height || 1) / (2 * t));
    return room * 0.94 * this.zoom;
  }

  move(dx, dy) {
    this.x = Math.max(-1.2, Math.min(1.2, this.x - dx / this.scale));
    this.y = Math.max(-1.2, Math.min(1.2, this.y - dy / this.scale));
    this.redraw();
  }

  // Zoom around a pixel, which stays in place.
  zoomBy(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.at(px, py);
    this.zoom = Math.max(0.5, Math.min(MOST_ZOOM, this.zoom * factor));
    this.x = x - (px - this.width / 2) / this.scale;
    this.y = y - (py - this.height / 2) / this.scale;
    this.move(0, 0);
  }

  at(px, py) {
    return [this.x + (px - this.width / 2) / this.scale, this.y + (py - this.height / 2) / this.scale];
  }

  pixel(x, y) {
    return [(x - this.x) * this.scale + this.width / 2, (y - this.y) * this.scale + this.height / 2];
  }

  get diameter() {
    const base = Math.max(1.8, Math.min(6.5, 40 / Math.max(1, this.n) ** 0.28));
    const narrow = Math.min(1, Math.max(0.6, (this.width || 600) / 600));
    return Math.min(22, base * narrow * Math.max(1, this.zoom) ** 0.35);
  }

  resize() {
    const { clientWidth: width, clientHeight: height } = this.element;
    if (!width || !height) return;
    const ratio = Math.min(devicePixelRatio || 1, 2);
    Object.assign(this, { width, height, ratio });
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.draw();
  }

  redraw() {
    this.frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    if (!this.n || !this.width) return;
    const [x, y] = this.pixel(0, 0);
    const { ratio } = this;
    this.points.draw(this.scale * ratio, x * ratio, y * ratio, this.diameter * ratio);
    this.placeNames();
    if (this.shown >= 0) this.show(this.shown);
  }

  placeNames() {
    const taken = [];
    for (const label of this.labels) {
      const [x, y] = this.pixel(label.x, label.y);
      const [left, top] = [x - label.width / 2, y - label.height / 2];
      const inside = left > 0 && top > 0 && left + label.width < this.width && top + label.height < this.height;
      const free = taken.every(([l, t, r, b]) => left > r || left + label.width < l || top > b || top + label.height < t);
      label.element.style.visibility = inside && free ? "visible" : "hidden";
      if (!inside || !free) continue;
      taken.push([left, top, left + label.width, top + label.height]);
      label.element.style.transform = `translate(${Math.round(left)}px, ${Math.round(top)}px)`;
    }
  }

  pick(px, py, reach = REACH) {
    const [x, y] = this.at(px, py);
    this.show(this.nearest ? this.nearest.find(x, y, reach / this.scale) : -1);
  }

  show(i) {
    this.shown = i;
    this.ring.hidden = this.tip.hidden = i < 0;
    if (i < 0) return;
    const [x, y] = this.pixel(this.xy[2 * i], this.xy[2 * i + 1]);
    const size = this.diameter + 6;
    Object.assign(this.ring.style, {
      width: `${size}px`, height: `${size}px`, transform: `translate(${x - size / 2}px, ${y - size / 2}px)`,
    });
    const lines = this.describe(i);
    this.tip.replaceChildren(...lines.map((line, k) => h(k ? "span" : "strong", {}, line)));
    const left = x + 14 + this.tip.offsetWidth > this.width ? x - 14 - this.tip.offsetWidth : x + 14;
    const top = Math.max(4, Math.min(this.height - this.tip.offsetHeight - 4, y + 12));
    this.tip.style.transform = `translate(${Math.round(Math.max(4, left))}px, ${Math.round(top)}px)`;
  }

  listen() {
    const { element } = this;
    const held = new Map();
    const place = (event) => {
      const box = element.getBoundingClientRect();
      return [event.clientX - box.left - element.clientLeft, event.clientY - box.top - element.clientTop];
    };
    element.addEventListener("pointerdown", (event) => {
      if (event.button) return;
      held.set(event.pointerId, place(event));
      element.setPointerCapture(event.pointerId);
      element.classList.add("held");
    });
    element.addEventListener("pointermove", (event) => {
      const now = place(event);
      const before = held.get(event.pointerId);
      if (!before) return this.pick(...now);
      this.show(-1);
      const other = [...held].find(([id]) => id !== event.pointerId)?.[1];
      if (other) {
        const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1;
        this.zoomBy(apart(now) / apart(before), ...other);
      } else this.move(now[0] - before[0], now[1] - before[1]);
      held.set(event.pointerId, now);
    });
    const release = (event) => {
      held.delete(event.pointerId);
      if (!held.size) element.classList.remove("held");
    };
    element.addEventListener("pointerup", release);
    element.addEventListener("pointercancel", release);
    element.addEventListener("pointerleave", () => this.show(-1));
    element.addEventListener("blur", () => this.show(-1));
    element.addEventListener("dblclick", (event) => this.zoomBy(2, ...place(event)));
    element.addEventListener("wheel", (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode ? 30 : 1);
      this.zoomBy(Math.exp(-Math.max(-200, Math.min(200, pixels)) / 400), ...place(event));
    }, { passive: false });
    element.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey) return;
      const step = event.shiftKey ? 160 : 40;
      const keys = {
        ArrowLeft: () => this.move(step, 0), ArrowRight: () => this.move(-step, 0),
        ArrowUp: () => this.move(0, step), ArrowDown: () => this.move(0, -step),
        "+": () => this.zoomBy(1.4), "=": () => this.zoomBy(1.4), "-": () => this.zoomBy(1 / 1.4), 0: () => this.home(),
        Enter: () => this.pick(this.width / 2, this.height / 2, Math.hypot(this.width, this.height)),
        Escape: () => this.show(-1),
      };
      if (!keys[event.key]) return;
      event.preventDefault();
      keys[event.key]();
    });
  }
}

// Scale to the square from -1 to 1 with y downwards, keeping the aspect ratio; non-finite points become NaN.
function normalized(sent) {
  const n = sent.length / 2;
  const [least, most] = [[Infinity, Infinity], [-Infinity, -Infinity]];
  let none = 0;
  for (let i = 0; i < n; i++) {
    if (!Number.isFinite(sent[2 * i]) || !Number.isFinite(sent[2 * i + 1])) {
      none++;
      continue;
    }
    for (const k of [0, 1]) {
      least[k] = Math.min(least[k], sent[2 * i + k]);
      most[k] = Math.max(most[k], sent[2 * i + k]);
    }
  }
  const middle = [0, 1].map((k) => (least[k] + most[k]) / 2);
  const reach = Math.max(most[0] - least[0], most[1] - least[1]) / 2 || 1;
  const xy = new Float32Array(2 * n);
  for (let i = 0; i < n; i++) {
    const whole = Number.isFinite(sent[2 * i]) && Number.isFinite(sent[2 * i + 1]);
    xy[2 * i] = whole ? (sent[2 * i] - middle[0]) / reach : NaN;
    xy[2 * i + 1] = whole ? (middle[1] - sent[2 * i + 1]) / reach : NaN;
  }
  const half = [0, 1].map((k) => (n > none ? Math.max((most[k] - least[k]) / 2 / reach, 0.05) : 1));
  return { xy, half, none };
}
