// Task: the growing log of a submission, until the submission becomes a study.

import { json } from "./api.js";
import { h, say, show } from "./dom.js";
import { CONNECT, quoted, snippet } from "./snippet.js";
import { state } from "./state.js";

const PAUSE = 1000;
const STAMP = /^\[(\d{4}-\d\d-\d\d \d\d:\d\d)\] /;

export async function showTask(main, id) {
  const first = await json(`task/${encodeURIComponent(id)}?from=0`);
  document.title = `${first.id || "Submission"} · BioColab sandbox`;
  const place = h("span", { class: "state-place" });
  const outcome = h("div", { class: "outcome", role: "status" });
  const log = h("ol", { class: "log", role: "log", "aria-live": "polite", "aria-label": "Log", tabindex: "0" });
  const follow = h("input", { type: "checkbox", id: "follow", checked: true });
  show(main,
    h("nav", { class: "crumbs", "aria-label": "Breadcrumb" }, h("a", { href: "/" }, "Studies"), " / Submission"),
    h("div", { class: "heading" }, h("h1", {}, first.id || "(no name)"), place),
    first.title && first.title !== first.id ? h("p", { class: "subtitle" }, first.title) : null,
    outcome,
    h("div", { class: "log-head" },
      h("h2", {}, "Log"),
      h("label", { for: "follow", class: "check" }, follow, "Follow the end")),
    log,
    h("p", { class: "quiet" }, "Task ", h("code", {}, first.task)),
  );
  const toEnd = () => { if (follow.checked) log.scrollTop = log.scrollHeight; };
  follow.addEventListener("change", toEnd);
  // Scrolling up stops following the log; scrolling to the end follows it again.
  log.addEventListener("scroll", () => {
    follow.checked = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  });

  let next = 0;
  let shown = "";
  function update(task) {
    for (const line of task.log.split("\n")) if (line) log.append(item(line));
    next = task.next;
    toEnd();
    const key = `${task.status} ${task.study}`;
    if (key !== shown) {
      place.replaceChildren(state(task));
      outcome.replaceChildren(...ending(task));
      outcome.className = `outcome ${task.status === "ERROR" ? "bad" : task.study ? "good" : ""}`;
      if (shown) say(`${task.id}: ${place.textContent}`);
      shown = key;
    }
    if (task.status !== "ERROR" && !task.study) setTimeout(again, PAUSE);
  }
  async function again() {
    try {
      update(await json(`task/${encodeURIComponent(id)}?from=${next}`));
      outcome.classList.remove("silent");
    } catch (error) {
      if (error.status === 401) return location.reload();
      outcome.replaceChildren(h("p", {}, error.message));
      shown = "";
      if (error.status !== 404) setTimeout(again, 3 * PAUSE);
    }
  }
  update(first);
}

function ending(task) {
  if (task.study) {
    return [h("p", {}, "The submission is now a study."),
      h("a", { class: "main", href: `/study/${task.study}` }, `Open ${task.id || "the study"}`)];
  }
  if (task.status === "ERROR") {
    return [h("p", {}, h("strong", {}, "The submission failed.")), h("p", { class: "reason" }, task.last)];
  }
  if (task.status === "SUCCESS") {
    return [h("p", {}, "Processed, but not a study yet: the client has to commit it, which adds it to its group. To do that:"),
      snippet(`${CONNECT}study = bc.submission(${quoted(task.task)}).wait().study()`)];
  }
  return [h("p", {}, task.status === "PENDING" ? "Waiting in the queue." : "Processing. This page updates itself."),
    h("button", { class: "plain", type: "button", onclick: (event) => cancel(task, event.currentTarget) }, "Cancel")];
}

async function cancel(task, button) {
  button.disabled = true;
  try {
    await json(`task/${encodeURIComponent(task.task)}/cancel`, { method: "POST" });
  } catch (error) {
    say(error.message);
    button.disabled = false;
  }
}

function item(line) {
  const stamp = STAMP.exec(line);
  const text = stamp ? line.slice(stamp[0].length) : line;
  return h("li", { class: text.startsWith("ERROR") ? "bad" : null },
    h("time", {}, stamp ? stamp[1].slice(11) : ""), h("span", {}, text));
}
