// The visits of a link, as long as its details are looked at.
import { count, fault, h, plural, put, when } from "./dom.js";
import { call } from "./api.js";

const period = 3000; // ms; nodes bring what they counted to the log each second
const days = 30;
const most = 5; // names of a list
const day = 86_400_000; // ms

// follow draws the visits of a link into root, and draws them again when they
// change, until signal ends it.
export async function follow(root, key, signal) {
  const why = h("p", { className: "fault", role: "alert", hidden: true });
  const body = h("div", { className: "visits" });
  root.replaceChildren(why, body);
  for (let before = ""; !signal.aborted; await new Promise((done) => setTimeout(done, period))) {
    if (document.hidden && before) continue;
    try {
      const stats = await call("GET", `v1/links/${key}/stats`);
      if (signal.aborted) return;
      fault(why, null);
      const text = JSON.stringify(stats) + today();
      if (text === before) continue; // what is open, or has the focus, stays
      const open = body.querySelector("details")?.open;
      body.replaceChildren(...draw(stats));
      body.querySelector("details").open = open;
      before = text;
    } catch (error) {
      if (signal.aborted) return;
      fault(why, error);
      if (error.status >= 400 && error.status < 500) return; // the next answer would be no other
    }
  }
}

const today = () => new Date().toISOString().slice(0, 10);

function draw(stats) {
  const figure = (name, ...value) => h("div", {}, h("dt", {}, name), h("dd", {}, ...value));
  const list = lastDays(stats.days);
  return [
    h("dl", { className: "visit-figures" },
      figure("visits", count(stats.visits)), figure("of these, bots", count(stats.bots)),
      figure("last visit", stats.last_visit ? when(stats.last_visit) : "never")),
    chart(list), table(list),
    h("div", { className: "tops" }, top("Referrers", stats.referrers, "hosts"), top("Browsers", stats.browsers), top("Systems", stats.systems)),
  ];
}

// lastDays has each day, also those of which nothing is known: nobody came. Days
// are UTC's; the node's clock may be ahead of this one.
function lastDays(known) {
  const visits = new Map(known.map((d) => [d.date, d.visits]));
  const last = Date.parse([today(), ...visits.keys()].sort().at(-1));
  return Array.from({ length: days }, (_, i) => {
    const date = new Date(last - (days - 1 - i) * day).toISOString().slice(0, 10);
    return { date, visits: visits.get(date) ?? 0 };
  });
}

const dateFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", timeZone: "UTC" });
const dayName = (date) => dateFormat.format(new Date(date));

function svg(tag, attributes, ...children) {
  const el = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) el.setAttribute(name, value);
  el.append(...children);
  return el;
}

// chart is a bar a day. All is in percent, so that it fits any width undistorted.
function chart(list) {
  const peak = list.reduce((a, b) => (b.visits >= a.visits ? b : a));
  const sum = list.reduce((n, d) => n + d.visits, 0);
  const step = 100 / days;
  const bars = list.map(({ date, visits }, i) => {
    const height = visits ? Math.max(4, (100 * visits) / peak.visits) : 0;
    return svg("g", {}, svg("title", {}, `${dayName(date)}: ${plural(visits, "visit")}`),
      svg("rect", { class: "hit", x: `${i * step}%`, y: 0, width: `${step}%`, height: "100%" }),
      svg("rect", { class: visits ? "bar" : "none", x: `${(i + 0.14) * step}%`, width: `${0.72 * step}%`, rx: 1.5, ...(visits ? { y: `${100 - height}%`, height: `${height}%` } : { y: "98%", height: "2%" }) }));
  });
  const label = `Visits a day: ${count(sum)} in ${days} days${sum ? `, most on ${dayName(peak.date)}: ${count(peak.visits)}` : ""}`;
  return h("figure", { className: "chart" },
    h("figcaption", {}, h("h3", {}, `The last ${days} days`), h("span", { className: "dim" }, sum ? `at most ${count(peak.visits)} a day` : "no visits")),
    svg("svg", { class: "bars", role: "img", "aria-label": label }, ...bars),
    h("p", { className: "axis dim", ariaHidden: "true" }, h("span", {}, dayName(list[0].date)), h("span", {}, `${dayName(list.at(-1).date)}, UTC`)));
}

// table says the same in words.
function table(list) {
  const rows = list.toReversed().map((d) => h("tr", {}, h("th", { scope: "row" }, h("time", { dateTime: d.date }, dayName(d.date))), h("td", {}, count(d.visits))));
  return h("details", {}, h("summary", {}, "As a table"),
    h("div", { className: "table", tabIndex: 0, role: "region", ariaLabel: "Visits a day" },
      h("table", {}, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, "Day (UTC)"), h("th", { scope: "col" }, "Visits"))), h("tbody", {}, ...rows))));
}

function top(title, names, className = "") {
  if (!names.length) return "";
  const all = names.reduce((n, { visits }) => n + visits, 0);
  return h("section", { className }, h("h3", {}, title), h("ol", { role: "list" }, ...names.slice(0, most).map(({ name, visits }) => {
    const share = h("i", { ariaHidden: "true" });
    share.style.width = `${(100 * visits) / all}%`;
    return h("li", {}, h("span", {}, name), h("span", {}, count(visits)), share);
  })));
}
