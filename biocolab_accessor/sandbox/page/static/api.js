// API: requests to the sandbox. An unsuccessful answer throws a Failure with the server's message.

export class Failure extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, { credentials: "same-origin", ...options });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Failure(0, "The sandbox does not answer. Is it still running?");
  }
  if (!response.ok) {
    const said = await response.json().catch(() => ({}));
    throw new Failure(response.status, said.detail ?? `the sandbox answered ${response.status}`);
  }
  return response;
}

export async function json(path, options) {
  return (await ask(`/page/data/${path}`, options)).json();
}

// Arrays arrive as little-endian bytes, the byte order of every machine that runs a browser.
export async function array(path, Type, options) {
  return new Type(await (await ask(`/page/data/${path}`, options)).arrayBuffer());
}

export async function signIn(secret) {
  return (await ask("/signin", { method: "POST", body: new URLSearchParams(secret) })).json();
}

export async function signOut() {
  await ask("/signout", { method: "POST" });
}
