// The nodes: who leads, who is well, how far each has come.
import { $, announce, clock, count, h, put, span } from "./dom.js";

const cards = new Map(); // by node id
const pace = []; // log entries a second, one value an event
const paces = 120;
let before = null; // the event before
let at = 0; // when it came

// What `kgs cluster status` remarks on, too: log entries, and milliseconds.
const lagging = 1000;
const silent = 3000;

export const cluster = { node: "", update, note };

function update(status, node) {
  cluster.node = node;
  const now = performance.now();
  const nodes = status.nodes.toSorted((a, b) => a.id.localeCompare(b.id, "en", { numeric: true }));
  headline(status, nodes);
  put($("verdict"), tolerance(nodes));
  $("verdict").dataset.state = spare(nodes) < 0 ? "bad" : spare(nodes) === 0 ? "tight" : "good";
  const newest = newestApplied(status, nodes);
  const mixed = new Set(nodes.map((n) => n.version).filter(Boolean)).size > 1;
  for (const n of nodes) {
    const c = card(n, status.leader, newest, now);
    c.lag.classList.toggle("warn", n.healthy && newest - n.applied_index > lagging);
    c.contact.classList.toggle("warn", n.healthy && n.id !== status.leader && n.last_contact_ms > silent);
    c.version.classList.toggle("warn", mixed);
  }
  for (const [id, c] of cards) {
    if (nodes.some((n) => n.id === id)) continue;
    c.el.remove();
    cards.delete(id);
    note(`${id} left the cluster`);
  }
  for (const n of nodes) $("nodes").append(cards.get(n.id).el); // only moves what is out of order
  put($("cluster-id"), status.cluster_id);
  put($("seen-from"), ` as ${node} sees it`);
  changes(status, nodes);
  drawPace(newest, now);
  before = { status, nodes, newest };
  at = now;
}

function headline(status, nodes) {
  const leader = status.nodes.find((n) => n.id === status.leader);
  const el = $("leads");
  el.dataset.state = !leader ? "election" : leader.healthy ? "led" : "headless";
  put(el, !leader ? (spare(nodes) < 0 ? "No leader" : "No leader: an election is under way") : leader.healthy ? `${leader.id} leads` : `${leader.id} led, and does not answer`);
  put($("term"), `term ${count(status.term)}`);
}

// tolerance is what `kgs cluster status` says, in the same words.
export function tolerance(nodes) {
  const voters = nodes.filter((n) => n.role !== "nonvoter");
  const sick = voters.filter((n) => !n.healthy).map((n) => n.id);
  const healthy = voters.length - sick.length;
  const left = spare(nodes);
  const more = left === 1 ? "1 more node" : `${left} more nodes`;
  const unhealthy = `${sick.join(" and ")} ${sick.length > 1 ? "are" : "is"} unhealthy`;
  if (left < 0) return `no majority: ${healthy} of ${voters.length} voters are healthy, writes wait (${unhealthy})`;
  if (left === 0 && sick.length > 0) return `${voters.filter((n) => n.healthy).map((n) => n.id).join(" and ")} cannot be lost: ${unhealthy}`;
  if (voters.length === 1) return "no node can be lost: it is the only voter; join more, to 3 or 5";
  if (left === 0) return `no node can be lost: ${voters.length} voters need one another; join more, to 3 or 5`;
  if (sick.length > 0) return `can lose ${more}; ${unhealthy}`;
  return `can lose ${more}`;
}

// spare is how many voters can be lost before a majority is.
function spare(nodes) {
  const voters = nodes.filter((n) => n.role !== "nonvoter");
  return voters.filter((n) => n.healthy).length - (Math.floor(voters.length / 2) + 1);
}

// newestApplied is the leader's applied index, or the highest if none leads.
function newestApplied(status, nodes) {
  const leader = nodes.find((n) => n.id === status.leader && n.healthy);
  return leader ? leader.applied_index : Math.max(0, ...nodes.map((n) => n.applied_index));
}

function card(n, leader, newest, now) {
  let c = cards.get(n.id);
  if (!c) cards.set(n.id, (c = newCard(n)));
  const answered = n.healthy || n.applied_index > 0;
  const state = !answered ? "down" : !n.healthy ? "sick" : n.id === leader ? "leader" : "well";
  c.el.dataset.state = state;
  put(c.role, n.role);
  put(c.state, { down: "down", sick: "unhealthy", leader: "healthy", well: "healthy" }[state]);
  put(c.problem, n.problem ?? "");
  c.problem.hidden = !n.problem;
  if (answered) {
    Object.assign(c, { applied: n.applied_index, seen: now });
    put(c.index, count(n.applied_index));
    put(c.lag, n.id === leader ? "–" : count(Math.max(0, newest - n.applied_index)));
    put(c.contactName, "heard from leader");
    put(c.contact, n.id === leader ? "–" : `${ago(n.last_contact_ms)} ago`);
    put(c.version, n.version ?? "");
  } else {
    put(c.index, c.applied ? `was ${count(c.applied)}` : "not known");
    put(c.lag, c.applied ? `at least ${count(Math.max(0, newest - c.applied))}` : "not known");
    put(c.contactName, "last seen");
    put(c.contact, c.seen ? `${span((now - c.seen) / 1000)} ago` : "before you came");
  }
  put(c.http, n.http.replace(/^https?:\/\//, ""));
  if (/^https?:\/\//.test(n.http)) c.http.href = `${n.http}/ui/`;
  return c;
}

const ago = (ms) => (ms < 1000 ? `${count(ms)} ms` : span(ms / 1000));

function newCard(n) {
  const c = {
    role: h("span", { className: "role" }), state: h("strong", { className: "state" }), problem: h("p", { className: "problem" }),
    index: h("dd"), lag: h("dd"), contactName: h("dt"), contact: h("dd"), version: h("dd", { className: "mono" }), http: h("a", { className: "mono" }),
  };
  const row = (name, dd) => h("div", {}, typeof name === "string" ? h("dt", {}, name) : name, dd);
  c.el = h("li", { className: "node" },
    h("header", {}, h("h2", {}, n.id), c.role, c.state),
    c.problem,
    h("dl", { className: "facts" },
      row("applied index", c.index), row("entries behind", c.lag), row(c.contactName, c.contact),
      row("version", c.version), row("page", h("dd", {}, c.http))));
  c.el.dataset.node = n.id;
  return c;
}

// changes tells what differs from the event before.
function changes(status, nodes) {
  if (!before) {
    note(`began to watch: ${status.leader ? `${status.leader} leads` : "no leader"}, term ${count(status.term)}`, "quiet");
    return;
  }
  for (const n of nodes) {
    const old = before.nodes.find((o) => o.id === n.id);
    if (!old) note(`${n.id} joined`);
    else if (old.healthy && !n.healthy) note(`${n.id} is ${n.applied_index ? "unhealthy" : "down"}: ${n.problem ?? "it does not answer"}`, "bad");
    else if (!old.healthy && n.healthy) note(`${n.id} is healthy again`);
    if (old && (old.role === "nonvoter") !== (n.role === "nonvoter")) note(`${n.id} is a ${n.role === "nonvoter" ? "non-voter" : "voter"} now`);
  }
  if (status.leader === before.status.leader && status.term === before.status.term) return;
  if (!status.leader) note("no leader: an election is under way", "bad");
  else if (status.leader !== before.status.leader) note(`${status.leader} was elected and leads, term ${count(status.term)}`, "lead");
  else note(`${status.leader} leads again, term ${count(status.term)}`, "lead");
}

const kept = 50; // lines of the history

function note(text, kind = "") {
  const list = $("history");
  list.prepend(h("li", { className: kind }, h("time", {}, clock()), h("span", {}, text)));
  while (list.children.length > kept) list.lastChild.remove();
  if (kind !== "quiet") announce(text);
}

function drawPace(newest, now) {
  if (before && newest >= before.newest && now > at) pace.push(((newest - before.newest) * 1000) / (now - at));
  if (pace.length > paces) pace.shift();
  const last = pace.at(-1) ?? 0;
  put($("pace"), count(last < 10 ? Number(last.toFixed(1)) : Math.round(last)));
  const top = Math.max(1, ...pace);
  const points = pace.map((v, i) => `${(240 * (paces - pace.length + i)) / (paces - 1)},${46 - 43 * (v / top)}`);
  const [area, line] = $("spark").children;
  line.setAttribute("d", points.length > 1 ? `M${points.join("L")}` : "");
  area.setAttribute("d", points.length > 1 ? `M${points[0].split(",")[0]},48L${points.join("L")}L240,48Z` : "");
}
