// Main: signs the user in, and shows one of the three views by the address.

import { json, signIn, signOut } from "./api.js";
import { h } from "./dom.js";
import { showHome } from "./home.js";
import { showStudy } from "./study.js";
import { showTask } from "./task.js";

const main = document.getElementById("main");
const account = document.getElementById("account");

const VIEWS = [
  [/^\/study\/([^/]+)\/?$/, showStudy],
  [/^\/task\/([^/]+)\/?$/, showTask],
  [/^\/$/, showHome],
];

async function start() {
  if (new URLSearchParams(location.search).has("out")) return showForm("You are signed out.");
  try {
    const { user } = await session();
    account.replaceChildren(
      h("span", { class: "who", title: "Signed in" }, user),
      h("button", { class: "plain", type: "button", onclick: leave }, "Sign out"),
    );
  } catch (error) {
    if (error.status !== 401) return failed(error);
    return showForm(error.message === "sign in first" ? "" : error.message);
  }
  const [match, show] = VIEWS.map(([pattern, view]) => [pattern.exec(location.pathname), view]).find(([m]) => m);
  try {
    await show(main, match[1] === undefined ? undefined : decodeURIComponent(match[1]));
  } catch (error) {
    failed(error);
  }
}

// A link from sign_in_link has an invitation after its "#", which neither servers nor logs see.
async function session() {
  const invitation = new URLSearchParams(location.hash.slice(1)).get("sign-in");
  if (invitation) history.replaceState(null, "", location.pathname + location.search);
  try {
    return await json("session");
  } catch (error) {
    if (error.status !== 401 || !invitation) throw error;
    return signIn({ invitation });
  }
}

async function leave() {
  try {
    await signOut();
  } catch (error) {
    return failed(error);
  }
  // Load a new page, so that this one stops all requests and drawing.
  location.assign("/?out");
}

function showForm(note = "") {
  document.title = "Sign in · BioColab sandbox";
  const problem = h("p", { id: "problem", class: "problem", role: "alert" });
  const input = h("input", {
    id: "token", name: "token", type: "password", autocomplete: "current-password", spellcheck: "false", required: true,
    "aria-describedby": "hint problem",
  });
  async function submit(event) {
    event.preventDefault();
    problem.textContent = "";
    try {
      await signIn({ token: input.value });
      if (location.search === "?out") location.assign("/");
      else start();
    } catch (error) {
      problem.textContent = error.message;
      input.select();
    }
  }
  main.replaceChildren(
    h("form", { class: "signin", action: "/signin", method: "post", onsubmit: submit },
      h("h1", {}, "Sign in"),
      note && h("p", { role: "status" }, note),
      h("label", { for: "token" }, "API token"),
      input,
      h("p", { id: "hint", class: "quiet" }, "The token that you connect with. Links from sandbox.sign_in_link() work without it. It is not stored in the browser."),
      problem,
      h("button", { class: "main", type: "submit" }, "Sign in"),
    ),
  );
  input.focus();
}

function failed(error) {
  main.replaceChildren(
    h("section", { class: "empty", role: "alert" },
      h("h1", {}, error.status === 404 ? "Not found" : "Something went wrong"),
      h("p", {}, error.message),
      h("p", {}, h("a", { href: "/" }, "All studies")),
    ),
  );
  if (!(error.status >= 0)) throw error;
}

start();
