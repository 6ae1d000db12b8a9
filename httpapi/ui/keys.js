// The key spaces, and keys to take.
import { $, about, announce, copy, count, fault, h, onSubmit, percent, plural, put, span } from "./dom.js";
import { call } from "./api.js";

const spaces = new Map(); // by name
let taken = null; // the last answer of POST /v1/keys

export const keys = { update };

function update({ keyspaces }) {
  for (const k of keyspaces) {
    let s = spaces.get(k.name);
    if (!s) spaces.set(k.name, (s = newSpace(k)));
    $("spaces").append(s.el);
    draw(s, k);
  }
  for (const [name, s] of spaces) {
    if (keyspaces.some((k) => k.name === name)) continue;
    s.el.remove();
    spaces.delete(name);
  }
  options(keyspaces.map((k) => k.name));
}

function options(names) {
  const select = $("take").elements.keyspace;
  if (names.join() === Array.from(select.options, (o) => o.value).join()) return;
  const chosen = select.value;
  select.replaceChildren(...names.map((name) => h("option", { value: name, selected: name === chosen }, name)));
}

const figures = [
  ["size", "keys there can be"],
  ["generated", "handed out, or ready to be"],
  ["unused", "ready"],
  ["used", "handed out, named by an alias, or burned"],
  ["buffered", "of these, in the leader's memory"],
  ["lost", "of these, died with a leader"],
];

function newSpace(k) {
  const s = { what: h("p", { className: "dim" }), forecast: h("p", { className: "forecast" }), rate: h("dd"), values: {} };
  s.used = h("i", { className: "used" });
  s.unused = h("i", { className: "unused" });
  s.bar = h("div", { className: "meter", role: "img" }, s.used, s.unused);
  const rows = figures.map(([name, help]) => {
    s.values[name] = h("dd");
    return h("div", {}, h("dt", { className: `of-${name}` }, name, h("small", {}, help)), s.values[name]);
  });
  rows.push(h("div", {}, h("dt", {}, "rate", h("small", {}, "handed out a second")), s.rate));
  s.el = h("article", { className: "panel space", "aria-label": `Key space ${k.name}` },
    h("header", {}, h("h2", {}, k.name), s.what), s.bar, s.forecast, h("dl", { className: "figures" }, ...rows));
  s.el.dataset.space = k.name;
  return s;
}

function draw(s, k) {
  const prefix = k.prefix ? `, after ${k.prefix}` : "";
  put(s.what, `keys of ${k.length} out of ${k.alphabet.length} characters${prefix}${k.check ? ", and a check character" : ""}${k.case_insensitive ? ", in either case" : ""}`);
  s.what.title = k.alphabet;
  for (const [name] of figures) put(s.values[name], k[name] < 1e12 ? count(k[name]) : about(k[name])); // there is room for so many digits
  s.values.lost.classList.toggle("warn", k.lost > 0);
  put(s.rate, `${count(k.rate < 10 ? Number(k.rate.toFixed(1)) : Math.round(k.rate))}`);
  s.used.hidden = !k.used;
  s.unused.hidden = !k.unused;
  s.used.style.width = `${(100 * k.used) / k.size}%`;
  s.unused.style.width = `${(100 * k.unused) / k.size}%`;
  const seconds = k.exhausted_in_seconds;
  const end = k.grows ? "longer ones" : "exhausted";
  const left = seconds === null ? "no end in sight" : `${end} in ${span(seconds)} at this rate`;
  s.forecast.dataset.state = !k.grows && seconds !== null && seconds < 30 * 86400 ? "bad" : k.used > 0.9 * k.size ? "tight" : "good";
  put(s.forecast, `${percent(k.used, k.size)} of ${about(k.size)} used, ${left}`);
  s.bar.setAttribute("aria-label", s.forecast.textContent);
}

onSubmit($("take"), async (form) => {
  taken = await call("POST", "v1/keys", { count: Number(form.get("count")), keyspace: form.get("keyspace") || undefined });
  $("taken").hidden = false;
  $("give-back").hidden = false;
  put($("taken-count"), `${plural(taken.keys.length, "key")}, yours alone`);
  $("taken-keys").style.columnWidth = `${taken.keys[0].length + 4}ch`;
  put($("taken-keys"), taken.keys.join("\n"));
});

// A new key space. What may be a name or an alphabet, the node says.
const alphabets = [
  ["crockford32", 32, "no I L O U"], ["base58", 58, "no 0 O I l"], ["base62", 62, "0-9 A-Z a-z"], ["base36", 36, "0-9 a-z"],
  ["hex", 16, "0-9 a-f"], ["digits", 10, "0-9"], ["lowercase", 26, "a-z"], ["uppercase", 26, "A-Z"],
];
const fresh = Object.fromEntries(Array.from($("new-space").elements, (el) => [el.name, el])); // elements.length is their number
fresh.alphabet.append(...alphabets.map(([name, , what]) => h("option", { value: name }, `${name}: ${what}`)), h("option", { value: "own" }, "your own characters"));
$("new-space").addEventListener("input", drawNew);
$("new-space").addEventListener("reset", () => setTimeout(drawNew)); // once its fields are
drawNew();

function drawNew() {
  const own = fresh.alphabet.value === "own";
  $("own-alphabet").hidden = !own;
  fresh.characters.required = own;
  const radix = own ? fresh.characters.value.length : alphabets.find(([name]) => name === fresh.alphabet.value)[1];
  const size = radix ** fresh.length.valueAsNumber;
  const fits = size >= 1e6 && size <= 2 ** 63;
  $("space-size").classList.toggle("warn", !fits);
  const characters = fresh.prefix.value.length + fresh.length.valueAsNumber + fresh.check.checked;
  put($("space-size"), fits ? `${about(size)} keys of ${characters} characters. It cannot be changed or deleted.`
    : "A key space has a million to 9.2 quintillion keys: choose another length.");
}

onSubmit($("new-space"), async (form) => {
  const made = await call("POST", "v1/keyspaces", {
    name: form.get("name").trim(), alphabet: form.get("alphabet") === "own" ? form.get("characters") : form.get("alphabet"), length: Number(form.get("length")),
    prefix: form.get("prefix"), check: form.has("check"), case_insensitive: form.has("ignore-case"),
  });
  $("new-space").reset();
  put($("made-space"), `Made ${made.name}: ${about(made.size)} keys`);
});

$("copy-keys").addEventListener("click", (event) => copy(`${taken.keys.join("\n")}\n`, event.currentTarget));
$("copy-receipt").addEventListener("click", (event) => copy(taken.receipt, event.currentTarget));
$("give-back").addEventListener("click", async () => {
  const where = $("keys").querySelector(".fault");
  fault(where, null);
  try {
    const { returned } = await call("POST", "v1/keys/return", { receipt: taken.receipt, keys: taken.keys });
    $("taken").hidden = true;
    $("take").elements.count.focus();
    announce(`${plural(returned, "key")} given back`);
  } catch (error) {
    fault(where, error);
  }
});
