// State: a word for how a submission is doing, told apart by shape and text as well as by colour.

import { h } from "./dom.js";

const WORDS = {
  PENDING: ["waiting", "Waiting"],
  RUNNING: ["running", "Running"],
  ERROR: ["error", "Failed"],
  SUCCESS: ["ready", "Processed"],
};

export function state({ status, study }) {
  const [kind, word] = study ? ["done", "Committed"] : WORDS[status] ?? ["waiting", status];
  return h("span", { class: `state ${kind}` }, word);
}
