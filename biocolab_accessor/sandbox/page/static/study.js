// Study: its cells on an embedding, colored by a field or a gene.

import { array, ask, json } from "./api.js";
import { bars } from "./bars.js";
import { labelColors, middles, numberColors, rangeOf } from "./coloring.js";
import { bytes, count, h, integer, moment, say, short, show } from "./dom.js";
import { fieldList } from "./fields.js";
import { geneBox } from "./genes.js";
import { labelLegend, numberLegend } from "./legend.js";
import { onScheme } from "./palette.js";
import { Plot } from "./plot.js";
import { CONNECT, quoted, snippet } from "./snippet.js";

const MOST_KEPT = 30;
const MOST_NAMES = 80;

export async function showStudy(main, uuid) {
  const study = await json(`study/${encodeURIComponent(uuid)}`);
  document.title = `${study.id || "Study"} · BioColab sandbox`;
  new StudyView(main, study);
}

class StudyView {
  constructor(main, study) {
    this.study = study;
    this.kept = new Map();
    this.chosen = new Set();
    this.turn = 0;
    main.classList.add("whole");
    const [cells, genes] = study.size;
    this.fields = fieldList(study.fields, cells, (number) => this.colorByField(number));
    this.genes = geneBox(study.uuid, genes, (gene) => this.colorByGene(gene));
    this.title = h("h2", { class: "by" }, " ");
    this.key = h("div", { class: "key" });
    this.problem = h("p", { class: "problem", role: "alert" });
    this.stage = study.embeddings.length ? this.makePlot() : this.makeChart();
    show(main,
      h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "/" }, "Studies"), ` / ${study.group}`),
      h("div", { class: "heading" }, h("h1", {}, study.id || "(no name)"), this.exportButton()),
      study.title && study.title !== study.id ? h("p", { class: "subtitle" }, study.title) : null,
      h("p", { class: "about" }, ...about(study)),
      study.abstract ? h("details", { class: "abstract" }, h("summary", {}, "Abstract"), h("p", {}, study.abstract)) : null,
      h("details", { class: "python" }, h("summary", {}, "Open in Python"), snippet(inPython(study))),
      h("div", { class: "desk" }, this.stage,
        h("aside", { class: "side", "aria-label": "Colors" }, this.genes.element, this.fields.element,
          h("section", { class: "meaning" }, this.title, this.problem, this.key))),
    );
    onScheme(() => this.paint());
    this.begin();
  }

  // Read the address, so that a reload or a copied link shows the same view.
  begin() {
    const wanted = new URLSearchParams(location.search);
    const gene = wanted.get("gene");
    const named = this.study.fields.findIndex((field) => field.name === wanted.get("field"));
    if (this.plot) {
      const place = this.study.embeddings.findIndex((row) => row.name === wanted.get("embedding"));
      this.showEmbedding(place >= 0 ? place : firstEmbedding(this.study.embeddings));
    }
    if (gene !== null) return this.colorByNamedGene(gene);
    const number = named >= 0 ? named : this.study.field;
    if (number !== null) this.colorByField(number);
  }

  remember(changes) {
    const query = new URLSearchParams(location.search);
    for (const [name, value] of Object.entries(changes)) {
      if (value === null) query.delete(name);
      else query.set(name, value);
    }
    history.replaceState(null, "", `${location.pathname}?${query}`);
  }

  makePlot() {
    this.plot = new Plot((i) => this.describe(i));
    this.note = h("span", { class: "quiet", role: "status" });
    this.picker = h("select", { id: "embedding", onchange: () => {
      this.showEmbedding(Number(this.picker.value));
      this.remember({ embedding: this.study.embeddings[Number(this.picker.value)].name });
    } }, ...this.study.embeddings.map((row, i) => h("option", { value: i }, row.name)));
    this.named = h("input", { type: "checkbox", id: "named", checked: true, onchange: () => this.nameLabels() });
    const button = (label, sign, work) => h("button", { type: "button", "aria-label": label, title: label, onclick: work }, sign);
    return h("section", { class: "stage", "aria-label": "Embedding" },
      h("div", { class: "tools" },
        h("label", { for: "embedding" }, "Embedding"), this.picker,
        h("label", { for: "named", class: "check" }, this.named, "Names"),
        this.note,
        h("span", { class: "zooms" },
          button("Zoom in", "+", () => this.plot.zoomBy(1.4)),
          button("Zoom out", "−", () => this.plot.zoomBy(1 / 1.4)),
          button("Show everything", "Reset", () => this.plot.home()))),
      this.plot.element);
  }

  makeChart() {
    this.chart = h("div", { class: "chart-place" });
    return h("section", { class: "stage", "aria-label": "Chart" },
      h("p", { class: "notice" }, h("strong", {}, "This study has no embedding. "),
        "It was submitted without coordinates in obsm, and the sandbox did not compute any. Its fields are shown as charts."),
      this.chart);
  }

  async showEmbedding(place) {
    const turn = (this.embeddingTurn = (this.embeddingTurn ?? 0) + 1);
    this.picker.value = String(place);
    const row = this.study.embeddings[place];
    await this.guard(async () => {
      const sent = await this.keep(`embedding/${encodeURIComponent(row.id)}`, Float32Array);
      if (turn !== this.embeddingTurn) return;
      const none = this.plot.setPlaces(sent);
      this.note.textContent = none ? `${count(none, "cell")} without coordinates` : "";
      this.paint();
    });
    this.barcodes ??= json(`study/${this.study.uuid}/barcodes`).then((found) => (this.barcodes = found), () => null);
  }

  colorByField(number) {
    const { name } = this.study.fields[number];
    this.fields.show(number);
    this.genes.show("");
    this.remember({ field: name, gene: null });
    return this.color(async () => {
      const [field, values] = await Promise.all([
        this.keep(`field/${number}`), this.keep(`field/${number}/values`, (await this.isLabel(number)) ? Uint16Array : Float32Array)]);
      if (field.kind === "label") return { ...field, codes: values };
      return { ...field, values, range: rangeOf(values) };
    });
  }

  isLabel(number) {
    return this.study.fields[number].kind === "label";
  }

  async colorByNamedGene(name) {
    await this.guard(async () => {
      const { matches } = await json(`study/${this.study.uuid}/features?q=${encodeURIComponent(name)}`);
      const gene = matches.find((match) => match.name === name);
      if (gene) return this.colorByGene(gene);
      this.problem.textContent = `The study has no feature ${name}.`;
    });
  }

  colorByGene({ number, name }) {
    this.fields.show(-1);
    this.genes.show(name);
    this.remember({ gene: name, field: null });
    return this.color(async () => {
      const values = await this.keep(`gene/${number}`, Float32Array);
      return { kind: "number", name, values, range: rangeOf(values), isGene: true };
    });
  }

  async color(fetched) {
    const turn = ++this.turn;
    await this.guard(async () => {
      const shown = await fetched();
      if (turn !== this.turn) return;
      this.shown = shown;
      this.chosen.clear();
      this.title.replaceChildren(shown.name || "(no name)", shown.isGene ? h("span", { class: "quiet" }, " log-normalized") : "");
      this.legend = shown.kind === "label"
        ? labelLegend(shown, this.chosen, () => this.paint(), this.study.size[0])
        : numberLegend(shown);
      if (this.chart) {
        this.drawn = bars(shown, this.study.size[0]);
        this.chart.replaceChildren(this.drawn.element);
        this.legend = shown.kind === "label" ? { element: h("p", { class: "quiet" }, count(shown.labels.length, "label")), update() {} } : this.legend;
      }
      this.key.replaceChildren(this.legend.element);
      this.paint();
      say(`Colored by ${shown.name}`);
    });
  }

  paint() {
    if (!this.shown) return;
    this.legend.update();
    this.drawn?.update();
    if (!this.plot?.n) return;
    const isLabel = this.shown.kind === "label";
    const { rgba, order } = isLabel ? labelColors(this.shown, this.chosen)
      : numberColors({ ...this.shown, range: this.shown.range ?? { low: 0, high: 0 } });
    this.plot.setColors(rgba, order);
    this.nameLabels();
  }

  nameLabels() {
    const { shown, chosen, named, plot } = this;
    const wanted = named.checked && shown?.kind === "label" && shown.labels.length <= 1000 && plot.n;
    const names = wanted ? middles(shown, plot.xy).filter(({ code }) => !chosen.size || chosen.has(code)) : [];
    plot.setNames(names.slice(0, MOST_NAMES).map((name) => ({ ...name, text: name.text.slice(0, 40) })));
  }

  describe(i) {
    const { shown, barcodes } = this;
    const barcode = Array.isArray(barcodes) ? barcodes[i] : `Cell ${integer(i + 1)}`;
    if (!shown) return [barcode];
    const value = shown.kind === "label" ? shown.labels[shown.codes[i]] ?? "no label" : short(shown.values[i]);
    return [barcode, `${shown.name}: ${value}`];
  }

  // Cache of recent answers; the data of a study do not change while it is open.
  async keep(path, Type = null) {
    const full = `study/${this.study.uuid}/${path}`;
    if (!this.kept.has(full)) {
      const answer = Type ? array(full, Type) : json(full);
      this.kept.set(full, answer);
      answer.catch(() => this.kept.delete(full));
      if (this.kept.size > MOST_KEPT) this.kept.delete(this.kept.keys().next().value);
    }
    return this.kept.get(full);
  }

  async guard(work) {
    this.problem.textContent = "";
    try {
      await work();
    } catch (error) {
      if (error.status === 401) location.reload();
      this.problem.textContent = error.message;
      if (!(error.status >= 0)) throw error;
    }
  }

  exportButton() {
    const button = h("button", { type: "button", class: "main" }, "Download h5ad");
    button.addEventListener("click", async () => {
      button.disabled = true;
      button.textContent = "Preparing the file";
      await this.guard(async () => {
        const made = await (await ask(`/page/data/study/${this.study.uuid}/export`, { method: "POST" })).json();
        const link = h("a", { href: made.url, download: "", hidden: true });
        document.body.append(link);
        link.click();
        link.remove();
        say(`The file has ${bytes(made.bytes)}`);
      });
      button.textContent = "Download h5ad";
      button.disabled = false;
    });
    return button;
  }
}

function inPython(study) {
  const options = [study.public ? "" : ', source="bbrowserx"', study.species === "human" ? "" : `, species=${quoted(study.species)}`];
  return `${CONNECT}adata = bc.study(${quoted(study.public ? study.id : study.uuid)}${options.join("")}).to_anndata()`;
}

function about(study) {
  const [cells, genes] = study.size;
  const parts = [
    `${count(cells, "cell")} × ${count(genes, "gene")}`, study.species, study.authors.join(", "), reference(study.reference),
    `created ${moment(study.created)}`, `by ${study.owner}`,
  ];
  return parts.filter(Boolean).map((part) => h("span", {}, part));
}

// Only a web address becomes a link, because a reference may contain any text.
function reference(text) {
  if (!/^https?:\/\//i.test(text) || !URL.canParse(text)) return text;
  return h("a", { href: text, rel: "noopener noreferrer", target: "_blank" }, new URL(text).hostname.replace(/^www\./, ""));
}

function firstEmbedding(embeddings) {
  for (const sought of ["umap", "tsne", "t-sne"]) {
    const place = embeddings.findIndex((row) => row.name.toLowerCase().includes(sought));
    if (place >= 0) return place;
  }
  return 0;
}
