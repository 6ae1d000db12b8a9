// The fields of a link, for the forms that create and change one.
import { h } from "./dom.js";

// Each knows its control, what it sends (undefined: nothing was entered), and how
// a link shows in it.
const all = {
  url: { label: "Long URL", wide: true, input: { type: "url", maxLength: 2048, required: true, spellcheck: false } },
  alias: { label: "Alias", help: "3 to 64 of A-Z a-z 0-9 _ -; empty: a short random key", input: { maxLength: 64, spellcheck: false, autocapitalize: "off" } },
  title: { label: "Title", input: { maxLength: 256 } },
  tags: {
    label: "Tags", help: "with commas between them", input: { spellcheck: false },
    read: (text) => text.split(",").map((t) => t.trim()).filter(Boolean), show: (tags) => (tags ?? []).join(", "),
  },
  redirect: { label: "Redirect", options: { 302: "302, looked up each time", 307: "307, and the method stays", 301: "301, cached for an hour", 308: "308, both" }, read: Number },
  not_before: { label: "Begins", help: "in this browser's time; empty: at once", input: { type: "datetime-local" }, read: instant, show: local },
  expires_at: { label: "Ends", help: "in this browser's time; empty: never", input: { type: "datetime-local" }, read: instant, show: local },
  forward_query: { label: "Query of the request", options: { false: "is left out", true: "goes along to the long URL" }, read: (text) => text === "true", show: (on) => String(on ?? false) },
  max_visits: { label: "Visits at most", help: "empty: any number", input: { type: "number", min: 1, max: 1e9, inputMode: "numeric" }, read: Number, show: (n) => (n ? String(n) : "") },
};

// A moment, as the control has it (local, to the minute) and as the API does.
function instant(text) {
  return text && new Date(text).toISOString();
}

function local(text) {
  if (!text) return "";
  const at = new Date(text);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

export class Fields {
  constructor(root, names) {
    this.names = names;
    this.controls = {};
    for (const name of names) {
      const f = all[name];
      const control = f.options
        ? h("select", { name }, ...Object.entries(f.options).map(([value, text]) => h("option", { value, defaultSelected: value === "302" }, text)))
        : h("input", { name, autocomplete: "off", ...f.input });
      this.controls[name] = control;
      root.append(h("label", { className: f.wide ? "field wide" : "field" }, f.label, control, f.help && h("small", {}, f.help)));
    }
  }

  // show fills in what a link has.
  show(link) {
    for (const name of this.names) this.controls[name].value = all[name].show ? all[name].show(link[name]) : (link[name] ?? "");
  }

  // text is what a control has. Half a date reads as none: the link would never end.
  text(name) {
    if (this.controls[name].validity.badInput) throw new Error(`${all[name].label}: not complete, or not valid`);
    return this.controls[name].value.trim();
  }

  // values are what a new link is made of.
  values() {
    const values = {};
    for (const name of this.names) {
      const text = this.text(name);
      if (text !== "") values[name] = all[name].read ? all[name].read(text) : text;
    }
    return values;
  }

  // changed is what differs from the link; what was emptied is cleared.
  changed(link) {
    const changes = {};
    const old = {};
    for (const name of this.names) {
      const text = this.text(name);
      old[name] = all[name].show ? all[name].show(link[name]) : String(link[name] ?? "");
      if (text !== old[name]) changes[name] = all[name].read ? all[name].read(text) : text;
    }
    return changes;
  }
}
