// State: a badge with the state of a submission, which shape and text distinguish as well as color.

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
