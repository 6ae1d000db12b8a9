// The page at /docs: openapi.json for people, with each request ready to be sent.
import { $, h, copy } from "./dom.js";
import { token } from "./api.js";

const methods = ["get", "head", "post", "put", "patch", "delete"];
const base = new URL(".", location.href).href.replace(/\/$/, "");
let api;

// deref follows a reference; what stands next to it counts before what it refers to.
function deref(node) {
  if (!node?.$ref) return node ?? {};
  const target = node.$ref.slice(2).split("/").reduce((at, name) => at[name.replace("~1", "/")], api);
  return { ...deref(target), ...node, $ref: undefined, name: target.name ?? node.$ref.split("/").pop() };
}

// prose shows what the document has of Markdown: paragraphs, lists, `code`.
function prose(text, className) {
  const inline = (line) => line.split("`").map((part, i) => (i % 2 ? h("code", {}, part) : part));
  const box = h("div", { className: `prose ${className ?? ""}` });
  for (const block of (text ?? "").trim().split(/\n\n+/)) {
    if (block.startsWith("- ")) box.append(h("ul", {}, ...block.split("\n").map((line) => h("li", {}, ...inline(line.slice(2))))));
    else if (block) box.append(h("p", {}, ...inline(block)));
  }
  return box;
}

// typeOf is a schema in a few words.
function typeOf(schema) {
  const s = deref(schema);
  if (s.const !== undefined) return JSON.stringify(s.const);
  if (s.enum) return s.enum.length > 8 ? `${s.type}, one of ${s.enum.length}` : s.enum.map((v) => JSON.stringify(v)).join(" | ");
  if (s.type === "array") return `[${typeOf(s.items)}]`;
  if (s.properties) return s.name ?? "object";
  const limits = [s.minimum !== undefined && `≥ ${s.minimum}`, s.maximum !== undefined && `≤ ${s.maximum}`, s.maxLength && `≤ ${s.maxLength} characters`,
    s.format, s.default !== undefined && `default ${s.default}`].filter(Boolean);
  return [[s.type ?? "any"].flat().join(" | "), ...limits].join(", ");
}

const line = (name, type, required, description, more) => h("div", { className: "member" },
  h("dt", {}, h("code", {}, name), required && h("b", { title: "required" }, " *"), h("span", { className: "dim" }, " ", type)),
  (description || more) && h("dd", {}, prose(description), more));

// shape lists an object's members, those of its members folded.
function shape(schema) {
  let s = deref(schema);
  if (s.type === "array") s = deref(s.items);
  if (!s.properties) return null;
  return h("dl", { className: "shape" }, ...Object.entries(s.properties).map(([name, property]) => {
    const inner = shape(property);
    return line(name, typeOf(property), s.required?.includes(name), deref(property).description,
      inner && h("details", {}, h("summary", {}, "its members"), inner));
  }));
}

const exampleText = (example) => (typeof example === "string" ? example : JSON.stringify(example, null, 2));

function content(of) {
  return Object.entries(of?.content ?? {}).flatMap(([type, media]) => [
    h("p", { className: "dim" }, h("code", {}, type), " ", deref(media.schema).properties ? typeOf(media.schema) : ""),
    shape(media.schema),
    media.example !== undefined && h("pre", { className: "sample", tabIndex: 0 }, exampleText(media.example).trimEnd()),
  ]);
}

// answers lists what may come back: what was wanted open, refusals a line a code.
function answers(op) {
  return Object.entries(op.responses).map(([status, response]) => {
    const r = deref(response);
    const headers = Object.entries(r.headers ?? {}).filter(([name, header]) => name !== "X-Kgs-Node" && deref(header).description); // the others are HTTP's own
    const more = () => [
      headers.length > 0 && h("dl", { className: "shape" }, ...headers.map(([name, header]) => line(name, "", false, deref(header).description))),
      ...content(r)];
    const head = [h("span", { className: "status", "data-class": status[0] }, status), prose(r.description)];
    return status < 400 ? h("div", { className: "answer" }, ...head, h("div", { className: "rest" }, ...more())) : h("div", { className: "answer" }, ...head);
  });
}

const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`);

const compact = (json) => { try { return JSON.stringify(JSON.parse(json)); } catch { return json; } };

// tryIt is the form of a request, the curl line that it makes, and the answer to it.
function tryIt(path, method, op, params) {
  const inputs = params.map((p) => {
    const schema = deref(p.schema), sample = p.in === "path" ? p.example ?? "" : "";
    const input = schema.enum ? h("select", {}, h("option", { value: "" }, ""), ...schema.enum.map((v) => h("option", {}, v)))
      : h("input", { value: sample, placeholder: p.example ?? schema.default ?? "", spellcheck: false });
    return { p, input, label: h("label", { className: "field" }, p.name, input) };
  });
  const [type, media] = Object.entries(op.requestBody?.content ?? {})[0] ?? [];
  const file = type === "application/octet-stream";
  const body = type && !file && h("textarea", { value: exampleText(media.example).trimEnd(), spellcheck: false, rows: Math.min(10, exampleText(media.example).split("\n").length + 1) });
  const curl = h("code"), out = h("pre", { className: "sample", hidden: true, tabIndex: 0 });
  const request = () => {
    const of = (place) => inputs.filter(({ p, input }) => p.in === place && input.value !== "").map(({ p, input }) => [p.name, input.value]);
    const at = of("path").reduce((to, [name, value]) => to.replace(`{${name}}`, encodeURIComponent(value)), path);
    const query = new URLSearchParams(of("query")).toString();
    const headers = Object.fromEntries(of("header"));
    if (body?.value) headers["Content-Type"] = type;
    return { url: base + at + (query && `?${query}`), headers, body: body?.value || undefined };
  };
  const show = () => {
    const { url, headers, body: data } = request();
    const parts = ["curl", method === "head" ? "-I" : op.operationId === "watchCluster" ? "-N" : file || method === "get" ? "" : `-X ${method.toUpperCase()}`];
    if (op["x-role"] !== "public" && $("token").value) parts.push(`-H "Authorization: Bearer $KGS_TOKEN"`);
    for (const [name, value] of Object.entries(headers)) parts.push(`-H ${quote(`${name}: ${value}`)}`);
    if (data) parts.push(`--data-binary ${quote(compact(data))}`);
    if (file) parts.push("-T FILE");
    curl.textContent = [...parts, quote(url)].filter(Boolean).join(" ");
  };
  const send = async () => {
    const { url, headers, body: data } = request();
    if (op["x-role"] !== "public" && $("token").value) headers.Authorization = `Bearer ${$("token").value}`;
    out.hidden = false;
    out.textContent = "…";
    try {
      const r = await fetch(url, { method: method.toUpperCase(), headers, body: data, redirect: "manual" });
      const text = await r.text();
      const told = [...r.headers].filter(([name]) => /^(x-kgs|retry|location|idempotent|content-type|etag)/.test(name)).map((pair) => pair.join(": "));
      let pretty = text;
      if (/json$/.test(r.headers.get("Content-Type") ?? "")) pretty = text.replace(/[^\n]+/g, (json) => JSON.stringify(JSON.parse(json), null, 2));
      out.textContent = r.type === "opaqueredirect" ? "A redirect, as it should be; the browser does not tell pages where to." : [r.status, ...told, "", pretty.slice(0, 20_000)].join("\n");
    } catch (error) {
      out.textContent = String(error);
    }
  };
  const form = h("form", { className: "try" },
    inputs.length > 0 && h("div", { className: "row" }, ...inputs.map((i) => i.label)),
    body && h("label", { className: "field" }, "Body", body),
    h("div", { className: "curl" }, curl, h("button", { type: "button", className: "small", onclick: (e) => copy(curl.textContent, e.currentTarget) }, "Copy")),
    !file && !["watchCluster", "saveSnapshot"].includes(op.operationId) && h("button", { className: "primary" }, "Send"), out);
  form.addEventListener("input", show);
  $("token").addEventListener("input", show);
  form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
  show();
  return form;
}

function operation(path, method, op) {
  const params = (op.parameters ?? []).map(deref);
  const box = h("details", { className: "op", id: op.operationId },
    h("summary", {}, h("span", { className: "method", "data-method": method }, method.toUpperCase()), h("code", { className: "path" }, path),
      h("span", { className: "what" }, op.summary), h("span", { className: "role", title: "The least role that a token needs" }, op["x-role"])));
  const fill = () => { // only when it is looked at: the whole would be long
    if (box.children.length > 1) return;
    box.append(h("div", { className: "inside" }, prose(op.description),
      params.length > 0 && h("h3", {}, "Parameters"),
      params.length > 0 && h("dl", { className: "shape" }, ...params.map((p) => line(p.name, `${p.in}, ${typeOf(p.schema)}`, p.required, p.description))),
      op.requestBody && h("h3", {}, "Body"), ...content({ content: op.requestBody?.content }),
      h("h3", {}, "Answers"), ...answers(op), h("h3", {}, "Try it"), tryIt(path, method, op, params)));
  };
  box.addEventListener("toggle", fill);
  box.fill = fill;
  return box;
}

function reveal() {
  const at = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (at?.matches(".op")) {
    at.open = true;
    at.fill();
  }
  at?.scrollIntoView();
}

async function main() {
  $("token").value = token.get();
  $("token").addEventListener("input", () => token.set($("token").value));
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`openapi.json: ${response.status}`);
  api = await response.json();
  $("main").append(h("section", {}, h("header", { className: "title" }, h("h1", {}, "The API"), h("p", { className: "verdict plain" }, `${api.info.summary} Version ${api.info.version}.`)), prose(api.info.description, "intro")));
  for (const tag of api.tags) {
    const ops = Object.entries(api.paths).flatMap(([path, item]) => methods.filter((m) => item[m]?.tags.includes(tag.name)).map((m) => [path, m, item[m]]));
    const id = tag.name.replace(" ", "-");
    $("main").append(h("section", { className: "group", id }, h("h2", {}, tag.name), prose(tag.description, "dim"), ...ops.map((op) => operation(...op))));
    $("contents").append(h("a", { className: "head", href: `#${id}` }, tag.name), ...ops.map(([, m, op]) => h("a", { href: `#${op.operationId}` }, h("span", { className: "method", "data-method": m }, m.toUpperCase()), op.summary)));
  }
  $("main").append(h("section", { className: "group", id: "codes" }, h("h2", {}, "problem codes"), prose(api.components.schemas.Problem.description), shape(api.components.schemas.Problem)));
  $("contents").append(h("a", { className: "head", href: "#codes" }, "problem codes"));
  addEventListener("hashchange", reveal);
  reveal();
}

main().catch((error) => {
  $("fault").hidden = false;
  $("fault").textContent = error.message;
});
