// The frame of the page: parts, theme, token, and the line to the cluster.
import { $, announce, clock, fault, h, onSubmit, put } from "./dom.js";
import { learnSelf, may, self, token, watch } from "./api.js";
import { cluster } from "./cluster.js";
import { keys } from "./keys.js";
import { links } from "./links.js";
import { tokens } from "./tokens.js";

const parts = { cluster, keys, links, tokens };

function show() {
  const name = location.hash.slice(1);
  if (name === "main" && document.querySelector("main > section:not([hidden])")) return; // the skip link
  const part = name in parts && !document.querySelector(`nav a[href="#${name}"]`).hidden ? name : "cluster";
  const changed = $(part).hidden;
  for (const other of Object.keys(parts)) $(other).hidden = other !== part;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${part}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${$(`${part}-title`).textContent} · kgs`;
  if (!changed) return;
  parts[part].show?.();
  if (name) {
    $(`${part}-title`).focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

// The theme goes round: the system's, light, dark.
const themes = ["auto", "light", "dark"];

function showTheme() {
  const now = document.documentElement.dataset.theme ?? "auto";
  put($("theme-name"), now);
  $("theme").setAttribute("aria-label", `Theme: ${now === "auto" ? "the system's" : now}. Change it`);
}

$("theme").addEventListener("click", () => {
  const next = themes[(themes.indexOf(document.documentElement.dataset.theme ?? "auto") + 1) % themes.length];
  if (next === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = next;
  try { localStorage.setItem("kgs-theme", next); } catch { /* it lasts until the page is closed */ }
  showTheme();
});

// The token.
function askToken(why) {
  const dialog = $("token-dialog");
  fault(dialog, why ? new Error(why) : null);
  $("forget").hidden = !token.get();
  if (!dialog.open) dialog.showModal();
  dialog.querySelector("input").focus();
}

function useToken(text) {
  token.set(text);
  $("token-dialog").querySelector("input").value = "";
  $("token-dialog").close();
  document.dispatchEvent(new Event("kgs-token"));
  announce(text ? "Token in use" : "Token forgotten");
}

$("use-token").addEventListener("click", () => askToken());
$("forget").addEventListener("click", () => useToken(""));
onSubmit($("token-dialog").querySelector("form"), async (form) => useToken(form.get("token").trim()));
// Who has closed the dialog is not asked again for what was under way before.
let closed = 0;
$("token-dialog").addEventListener("close", () => { closed = performance.now(); });
document.addEventListener("kgs-unauthorized", ({ detail: { message, asked } }) => {
  if (asked > closed) askToken(token.get() ? message : "");
});

// What needs a token, or a role, is there for who has it.
document.addEventListener("kgs-self", () => {
  for (const el of document.querySelectorAll("[data-auth], [data-needs]")) {
    el.hidden = ("auth" in el.dataset && !self.auth) || !may(el.dataset.needs ?? "");
  }
  put($("use-token"), self.role ? `Token: ${self.role}` : "Token");
  show();
});

// The line to the cluster.
let others = []; // nodes with a page of their own
let lostAt = null;

function banner(error) {
  const el = $("banner");
  el.hidden = !lostAt;
  if (!lostAt) return;
  const why = error?.status ? `${error.message}. ` : ""; // it answers, but not as wished
  const parts = [h("strong", {}, "Reconnecting."), ` No word from ${cluster.node || "this node"} since ${clock(lostAt)}; what you see is older. ${why}`];
  const elsewhere = others.map((n) => h("a", { href: `${n.http}/ui/${location.hash}` }, n.id));
  if (elsewhere.length) parts.push(h("span", {}, "This page at another node: ", ...elsewhere.flatMap((a, i) => (i ? [" · ", a] : [a])), "."));
  const now = h("div", {}, ...parts);
  if (now.innerHTML !== el.innerHTML) el.replaceChildren(...now.childNodes); // not with each try: it would be read out, and a link lose the focus
}

watch({
  event(name, data, node) {
    if (name === "keyspaces") keys.update(data);
    if (name !== "cluster") return;
    cluster.update(data, node);
    others = data.nodes.filter((n) => n.id !== node && /^https?:\/\//.test(n.http));
  },
  state(state, error) {
    const live = $("live");
    live.dataset.state = state;
    if (state === "live" || error?.status === 401) learnSelf();
    put($("live-text"), { wait: error?.status === 403 ? "not allowed" : "needs a token", live: "live", lost: "reconnecting" }[state]);
    live.title = error?.message ?? "";
    document.body.classList.toggle("stale", state === "lost");
    if (state === "lost") {
      lostAt ??= new Date();
      banner(error);
    } else if (lostAt) {
      cluster.note("in touch with the cluster again");
      lostAt = null;
      banner();
    }
  },
});

showTheme();
addEventListener("hashchange", show);
show();
