// The node's API, and the stream of what goes on in the cluster.

// Addresses are relative to the page's, /ui/: a proxy may put a path before it.
export const address = (path) => new URL(`../${path}`, document.baseURI);

export class Problem extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

// The token lives as long as the tab.
export const token = {
  get: () => { try { return sessionStorage.getItem("kgs-token") ?? ""; } catch { return token.memory ?? ""; } },
  set: (text) => {
    token.memory = text;
    try {
      if (text) sessionStorage.setItem("kgs-token", text);
      else sessionStorage.removeItem("kgs-token");
    } catch { /* storage is switched off: the page's memory is enough */ }
  },
};

const headers = () => (token.get() ? { Authorization: `Bearer ${token.get()}` } : {});

const pause = (ms) => new Promise((done) => setTimeout(done, ms));

// Requests whose outcome is not known keep their Idempotency-Key: the same one,
// sent again by hand or by this page, has its effect once.
const unanswered = new Map();

function idempotencyKey(request) {
  if (!unanswered.has(request)) {
    const bytes = crypto.getRandomValues(new Uint8Array(16)); // randomUUID is for https only
    unanswered.set(request, Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join(""));
  }
  return unanswered.get(request);
}

const retries = [300, 700, 1500, 3000]; // ms, about what an election takes

function unauthorized({ message }, asked) {
  document.dispatchEvent(new CustomEvent("kgs-unauthorized", { detail: { message, asked } }));
}

// call is one request. What the cluster could not take just then is tried again,
// if a repeat can do no harm.
export async function call(method, path, body, { once = true } = {}) {
  const text = body === undefined ? undefined : JSON.stringify(body);
  const request = `${method} ${path} ${text}`;
  const reads = method === "GET";
  const asked = performance.now();
  for (let attempt = 0; ; attempt++) {
    const options = { method, headers: headers(), cache: "no-store", body: text };
    if (text !== undefined) options.headers["Content-Type"] = "application/json";
    if (!reads && once) options.headers["Idempotency-Key"] = idempotencyKey(request);
    let error;
    try {
      const response = await fetch(address(path), options);
      if (response.ok) {
        unanswered.delete(request);
        return response.status === 204 ? null : await response.json();
      }
      error = await problem(response);
      if (error.status < 500) unanswered.delete(request);
    } catch (failure) {
      error = new Problem(0, "no_answer", reads ? "This node does not answer."
        : "This node does not answer. Whether it was done is not known; the same again is safe, and done once.");
      error.cause = failure;
    }
    const passing = error.status === 0 || error.status === 503 || error.status === 504;
    if (!passing || (!reads && !once) || attempt === retries.length) {
      if (error.status === 401) unauthorized(error, asked);
      throw error;
    }
    await pause(retries[attempt]);
  }
}

async function problem(response) {
  const body = await response.json().catch(() => ({}));
  const title = body.title ?? response.statusText;
  const detail = body.detail ?? "";
  const said = detail.toLowerCase().startsWith(title.toLowerCase()) ? [detail] : [title, detail]; // not the same twice
  return new Problem(response.status, body.code ?? "", said.filter(Boolean).join(": "));
}

// self is what the token in use may do. The page shows just that; the node decides.
export const self = { auth: false, role: "", owner: "" };

const roles = ["", "read", "keys", "write", "admin"];

export const may = (role) => roles.indexOf(self.role) >= roles.indexOf(role);

export const mayChange = (link) => may("write") && (may("admin") || !link.owner || link.owner === self.owner);

export async function learnSelf() {
  try {
    Object.assign(self, { owner: "" }, await call("GET", "v1/tokens/self"));
  } catch (error) {
    if (error.status === 401) Object.assign(self, { auth: true, role: "", owner: "" });
  }
  document.dispatchEvent(new Event("kgs-self"));
}

const silence = 25_000; // ms; the node says something every 10 s

const renewed = "renewed"; // why a stream was ended that was in order

// watch follows the cluster for ever: EventSource's job, which cannot send a token.
// on.event(name, data, node), on.state("wait" | "live" | "lost", error).
export function watch(on) {
  let stream = null; // AbortController of the one that is open
  let wake = () => {};
  let failed = 0; // attempts since it was live

  async function follow() {
    const abort = (stream = new AbortController());
    let timer = 0;
    const alive = () => {
      clearTimeout(timer);
      timer = setTimeout(() => abort.abort(), silence);
    };
    try {
      alive();
      const response = await fetch(address("v1/cluster/watch"), { headers: headers(), cache: "no-store", signal: abort.signal });
      if (!response.ok) throw await problem(response);
      const node = response.headers.get("X-Kgs-Node");
      failed = 0;
      on.state("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      for (let text = ""; ;) {
        const { done, value } = await reader.read();
        if (done) return;
        alive();
        text += value;
        for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
          const name = /^event: (.*)$/m.exec(text.slice(0, end));
          const data = /^data: (.*)$/m.exec(text.slice(0, end));
          if (name && data) on.event(name[1], JSON.parse(data[1]), node);
        }
      }
    } finally {
      clearTimeout(timer);
      abort.abort();
    }
  }

  async function run() {
    for (;;) {
      if (document.hidden) await new Promise((done) => { wake = done; }); // a browser has six connections for all its tabs
      let error = null;
      const asked = performance.now();
      try {
        await follow();
      } catch (failure) {
        error = failure;
      }
      if (document.hidden || stream.signal.reason === renewed) continue;
      if (error?.status === 401 || error?.status === 403) {
        on.state("wait", error);
        if (error.status === 401) unauthorized(error, asked);
        await new Promise((done) => { wake = done; });
        continue;
      }
      on.state("lost", error);
      await Promise.race([pause(Math.min(4000, 250 * 2 ** failed++) * (0.75 + Math.random() / 2)), new Promise((done) => { wake = done; })]);
    }
  }

  const again = () => { stream?.abort(renewed); wake(); };
  document.addEventListener("visibilitychange", again);
  document.addEventListener("kgs-token", again);
  run();
}
