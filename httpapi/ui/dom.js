// What all parts of the page share: elements, figures, messages, the clipboard.

export const $ = (id) => document.getElementById(id);

// h makes an element. Text is only ever text: nothing here parses HTML.
export function h(tag, props = {}, ...children) {
  const el = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === undefined || value === null || value === false) continue;
    if (name in el) el[name] = value;
    else el.setAttribute(name, value === true ? "" : value);
  }
  el.append(...children.filter((c) => c !== null && c !== undefined && c !== false));
  return el;
}

// put changes a text only if it is another one, so that nothing is read out twice.
export function put(el, text) {
  if (el.textContent !== text) el.textContent = text;
}

const whole = new Intl.NumberFormat("en");
export const count = (n) => whole.format(n);
export const plural = (n, one, many = one + "s") => `${count(n)} ${n === 1 ? one : many}`;

// about shortens a large count: 56.8 billion.
export function about(n) {
  for (const [size, name] of [[1e18, "quintillion"], [1e15, "quadrillion"], [1e12, "trillion"], [1e9, "billion"], [1e6, "million"]]) {
    if (n >= size) return `${(n / size).toFixed(1)} ${name}`;
  }
  return count(n);
}

// span is a duration in its two most telling digits.
export function span(seconds) {
  for (const [size, name] of [[365.25 * 86400, "year"], [86400, "day"], [3600, "hour"], [60, "minute"]]) {
    if (seconds >= size) {
      const n = seconds / size;
      const shown = n < 10 ? Number(n.toFixed(1)) : Math.round(n);
      return plural(shown, name);
    }
  }
  return `${Math.max(0, Math.round(seconds))} s`;
}

export function percent(part, all) {
  if (!all || !part) return "0 %";
  const p = (100 * part) / all;
  if (p < 0.0001) return "under 0.0001 %";
  return `${p >= 10 ? p.toFixed(1) : p.toPrecision(2)} %`;
}

const clockFormat = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const dayFormat = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", year: "numeric", hour: "2-digit", minute: "2-digit" });
export const clock = (date = new Date()) => clockFormat.format(date);
export const when = (text) => h("time", { dateTime: text, title: text }, dayFormat.format(new Date(text)));

// announce has a screen reader say something that the eye sees by itself.
export function announce(text) {
  $("announce").textContent = text;
}

// fault shows why something did not work, next to it; "" takes it away.
export function fault(within, error) {
  const el = within.matches(".fault") ? within : within.querySelector(".fault");
  el.hidden = !error;
  put(el, error ? error.message : "");
}

// busy runs a form's work with its button held, so that it is not sent twice.
export async function busy(form, work) {
  const button = form.querySelector("button.primary, button.danger");
  if (button.getAttribute("aria-disabled")) return;
  button.setAttribute("aria-disabled", "true"); // not disabled: the focus would be lost
  fault(form, null);
  try {
    await work();
  } catch (error) {
    fault(form, error);
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

export function onSubmit(form, work) {
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    busy(form, () => work(new FormData(form)));
  });
}

// copy writes to the clipboard. Browsers give that to https and localhost only; on
// a private network without TLS the old way still works.
export async function copy(text, button) {
  let done = true;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { value: text, readOnly: true, className: "unseen" });
    (button.closest("dialog") ?? document.body).append(area);
    area.select();
    done = document.execCommand("copy");
    area.remove();
    button.focus();
  }
  const label = (button.dataset.label ??= button.textContent);
  button.textContent = done ? "Copied" : "Not copied";
  announce(done ? "Copied" : "Not copied: the browser does not allow it");
  clearTimeout(Number(button.dataset.timer));
  button.dataset.timer = setTimeout(() => { button.textContent = label; }, 1500);
}

for (const dialog of document.querySelectorAll("dialog")) {
  dialog.querySelector('button[value="cancel"]').addEventListener("click", () => dialog.close());
}

// confirm asks before what cannot be undone; work runs on yes, and may fail in the dialog.
export function confirm(title, text, yes, work) {
  const dialog = $("confirm-dialog");
  put($("confirm-title"), title);
  put($("confirm-text"), text);
  put($("confirm-yes"), yes);
  const form = dialog.querySelector("form");
  fault(form, null);
  form.onsubmit = (event) => {
    event.preventDefault();
    busy(form, async () => { await work(); dialog.close(); });
  };
  dialog.showModal();
  dialog.querySelector('button[value="cancel"]').focus(); // what cannot be undone takes more than Enter
}
