// Snippet: lines of Python with a button that copies them.

import { h, say } from "./dom.js";

export function snippet(text) {
  const code = h("code", {}, text);
  const button = h("button", { type: "button", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
      say("Copied");
      setTimeout(() => { button.textContent = "Copy"; }, 2000);
    } catch { // the browser does not allow it: select the lines, for the user to copy
      getSelection().selectAllChildren(code);
    }
  } }, "Copy");
  return h("div", { class: "snippet" }, h("pre", {}, code), button);
}

// A Python string; JSON escapes the same characters in the same way.
export const quoted = JSON.stringify;

// The session that started the sandbox is connected already.
export const CONNECT = `import biocolab_accessor as bc

# Only needed in another Python session; the token is server.token:
# bc.connect(private_host="${location.origin}/t2d_index_tool/", private_token="…",
#            bioflex_host="${location.origin}/", bioflex_token="…")
`;
