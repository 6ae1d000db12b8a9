// Links: create, find, change, delete.
import { $, announce, busy, confirm, copy, count, fault, h, onSubmit, plural, put, when } from "./dom.js";
import { address, call, mayChange } from "./api.js";
import { Fields } from "./fields.js";
import { follow } from "./visits.js";

const page = 50;
const create = new Fields($("create-more"), ["alias", "title", "tags", "redirect", "not_before", "expires_at", "max_visits", "forward_query"]);
const edit = new Fields($("edit-fields"), ["url", "title", "tags", "redirect", "not_before", "expires_at", "max_visits", "forward_query"]);
let cursor = null;
let asked = 0; // the newest search: answers to older ones come too late
let shown = 0;

export const links = { show: () => load() };

onSubmit($("create"), async (form) => {
  const link = await call("POST", "v1/links", { url: form.get("url").trim(), ...create.values() });
  $("create").reset();
  put($("made"), "");
  $("made").append("Made ", shortLink(link), " ", copyButton(link));
  announce(`Made ${link.short_url}`);
  load();
});

let typing = 0;
$("search").addEventListener("input", () => {
  clearTimeout(typing);
  typing = setTimeout(load, 200);
});
$("search").addEventListener("submit", (event) => {
  event.preventDefault();
  load();
});
$("more").addEventListener("click", () => load(cursor));
document.addEventListener("kgs-self", () => { if (!$("links").hidden) load(); });

// load shows the first page of what is searched, or the next one.
async function load(from = null) {
  const ticket = ++asked;
  const query = new URLSearchParams({ limit: page });
  for (const name of ["q", "tag"]) {
    const text = $("search").elements[name].value.trim();
    if (text) query.set(name, text);
  }
  if (from) query.set("cursor", from);
  try {
    const answer = await call("GET", `v1/links?${query}`);
    if (ticket !== asked) return;
    fault($("links-fault"), null);
    const items = answer.links.map(item);
    if (from) $("link-list").append(...items);
    else $("link-list").replaceChildren(...items);
    shown = (from ? shown : 0) + items.length;
    cursor = answer.next_cursor;
    $("more").hidden = !cursor;
    put($("link-count"), shown ? plural(shown, "link") + (cursor ? " so far" : "") : query.has("q") || query.has("tag") ? "None found" : "None yet");
    if (from) items[0]?.querySelector("a").focus();
  } catch (error) {
    if (ticket === asked) fault($("links-fault"), error);
  }
}

const shortLink = (link) => h("a", { className: "mono key", href: link.short_url, target: "_blank", rel: "noreferrer" }, link.short_url.replace(/^https?:\/\//, ""));

function copyButton(link) {
  return h("button", { type: "button", className: "small", "aria-label": `Copy ${link.short_url}`, onclick: (e) => copy(link.short_url, e.currentTarget) }, "Copy");
}

function item(link) {
  const li = h("li", { className: "item" });
  const act = (text, work, className = "small") =>
    h("button", { type: "button", className, "aria-label": `${text} ${link.key}`, onclick: work }, text);
  li.dataset.key = link.key;
  li.append(
    h("div", { className: "what" },
      h("p", { className: "bar-line" }, shortLink(link), copyButton(link)),
      link.title && h("p", { className: "name" }, link.title),
      h("p", { className: "target", title: link.url }, link.url),
      h("p", { className: "dim meta" }, when(link.created_at), link.alias ? " · alias" : "", ` · ${link.redirect}`, ...limits(link), link.owner ? ` · of ${link.owner}` : "",
        ...(link.tags ?? []).flatMap((tag) => [" ", tagButton(tag)]))),
    h("div", { className: "acts" },
      act("Details", () => details(link)),
      mayChange(link) && act("Edit", () => change(link, li)), mayChange(link) && act("Delete", () => remove(link, li), "small danger")));
  return li;
}

// limits says how long a link leads anywhere.
function limits(link) {
  const ended = link.expires_at && new Date(link.expires_at) <= new Date();
  const said = [];
  if (link.not_before && new Date(link.not_before) > new Date()) said.push(" · ", h("span", { className: "warn" }, "begins ", when(link.not_before)));
  if (link.expires_at) said.push(" · ", h("span", { className: ended && "warn" }, ended ? "ended " : "ends ", when(link.expires_at)));
  if (link.max_visits) said.push(" · ", h("span", { className: link.visits >= link.max_visits && "warn" }, `${count(link.visits)} of ${plural(link.max_visits, "visit")}`));
  return said;
}

function tagButton(tag) {
  return h("button", {
    type: "button", className: "tag", "aria-label": `Links with the tag ${tag}`,
    onclick: () => { $("search").elements.tag.value = tag; load(); },
  }, tag);
}

function change(link, li) {
  const dialog = $("edit-dialog");
  put($("edit-title"), `Change ${link.key}`);
  edit.show(link);
  const form = dialog.querySelector("form");
  fault(form, null);
  form.onsubmit = (event) => {
    event.preventDefault();
    busy(form, async () => {
      const changes = edit.changed(link);
      if (Object.keys(changes).length) {
        const now = await call("PATCH", `v1/links/${link.key}`, changes);
        const next = item(now);
        li.replaceWith(next);
        dialog.close();
        next.querySelector(".acts button").focus();
        announce(`${link.key} changed`);
      } else dialog.close();
    });
  };
  dialog.showModal();
}

function remove(link, li) {
  confirm(`Delete ${link.key}?`, `${link.short_url} will lead nowhere, and ${link.key} is never given to anything else.`, "Delete", async () => {
    await call("DELETE", `v1/links/${link.key}`);
    (li.nextElementSibling ?? li.previousElementSibling)?.querySelector("a").focus();
    li.remove();
    put($("link-count"), plural(--shown, "link") + (cursor ? " so far" : ""));
    announce(`${link.key} deleted`);
  });
}

function details(link) {
  put($("detail-title"), link.key);
  const row = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  const qr = h("img", { className: "qr", alt: `QR code of ${link.short_url}`, width: 176, height: 176, src: address(`${link.key}/qr`).href, onerror: () => qr.remove() });
  const visits = h("section", { ariaLabel: "Visits" });
  $("detail").replaceChildren(qr,
    h("dl", { className: "facts" },
      row("short URL", shortLink(link)), row("long URL", h("span", { className: "break" }, link.url)),
      link.title ? row("title", link.title) : "", row("redirect", String(link.redirect)),
      row("created", when(link.created_at)), link.updated_at ? row("changed", when(link.updated_at)) : "", link.owner ? row("owner", link.owner) : "",
      link.not_before ? row("begins", when(link.not_before)) : "", link.expires_at ? row("ends", when(link.expires_at)) : ""),
    visits);
  const dialog = $("detail-dialog");
  const closed = new AbortController();
  dialog.addEventListener("close", () => closed.abort(), { once: true });
  dialog.showModal();
  follow(visits, link.key, closed.signal);
}
