// Home: groups with their studies, and submissions in progress.

import { json } from "./api.js";
import { count, h, integer, moment } from "./dom.js";
import { state } from "./state.js";

const PAUSE = 2000;
const LONG_PAUSE = 10_000;

export async function showHome(main) {
  const home = await json("home");
  document.title = "Studies · BioColab sandbox";
  const tasks = h("div", { class: "tasks" });
  const groups = home.groups.map((group) => section(group));
  main.replaceChildren(h("h1", { class: "unseen" }, "Studies"), tasks, ...groups.map((group) => group.element));
  let seen = "";
  // Only changed parts are written again, so that focus and scroll position stay.
  function update({ tasks: rows, groups: now }) {
    const said = JSON.stringify(rows);
    if (said !== seen) showTasks(tasks, rows);
    seen = said;
    now.forEach((group, i) => groups[i]?.update(group.studies));
    setTimeout(again, rows.some((row) => row.status !== "ERROR") ? PAUSE : LONG_PAUSE);
  }
  async function again() {
    if (document.hidden) return setTimeout(again, PAUSE);
    try {
      update(await json("home"));
    } catch (error) {
      if (error.status === 401) location.reload();
      else setTimeout(again, LONG_PAUSE);
    }
  }
  update(home);
}

function section(group) {
  const body = h("tbody");
  const tally = h("span", { class: "quiet" });
  const none = h("p", { class: "quiet none" }, "No studies yet.");
  const table = h("table", { class: "list studies" },
    h("thead", {}, h("tr", {},
      ...["Study", "Title"].map((name) => h("th", { scope: "col" }, name)),
      h("th", { scope: "col", class: "number" }, "Cells × genes"),
      h("th", { scope: "col" }, "Created"),
      h("th", { scope: "col" }, "Owner"))),
    body);
  let seen = null;
  return {
    element: h("section", {}, h("h2", {}, group.name, " ", tally), table, none),
    update(studies) {
      const ids = studies.map((study) => study.uuid).join();
      if (ids === seen) return;
      seen = ids;
      tally.textContent = studies.length ? integer(studies.length) : "";
      table.hidden = !studies.length;
      none.hidden = studies.length > 0;
      body.replaceChildren(...studies.map(row));
    },
  };
}

function row(study) {
  const size = h("td", { class: "number size" });
  const write = ([cells, genes]) => { size.textContent = `${integer(cells)} × ${integer(genes)}`; };
  if (study.size) write(study.size);
  else json(`study/${study.uuid}/size`).then((found) => write(found.size), () => { size.textContent = "–"; });
  return h("tr", {},
    h("th", { scope: "row" }, h("a", { href: `/study/${study.uuid}` }, study.id || "(no name)")),
    h("td", { class: "title" }, study.title === study.id ? "" : study.title),
    size,
    h("td", { class: "when" }, moment(study.created)),
    h("td", { class: "owner" }, study.owner));
}

function showTasks(place, rows) {
  if (!rows.length) return place.replaceChildren();
  const running = rows.filter((row) => row.status === "PENDING" || row.status === "RUNNING").length;
  place.replaceChildren(h("section", {},
    h("h2", {}, "Submissions ", h("span", { class: "quiet" }, running ? `${count(running, "task")} running` : "")),
    h("table", { class: "list" },
      h("thead", {}, h("tr", {},
        ...["Study", "State", "Last line of the log", "Since"].map((name) => h("th", { scope: "col" }, name)))),
      h("tbody", {}, ...rows.map((row) => h("tr", {},
        h("th", { scope: "row" }, h("a", { href: `/task/${row.task}` }, row.id || "(no name)")),
        h("td", {}, state(row)),
        h("td", { class: "title" }, row.last),
        h("td", { class: "when" }, row.since)))))));
}
