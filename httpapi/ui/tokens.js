// Tokens: list, create, revoke.
import { $, announce, confirm, copy, fault, h, onSubmit, plural, put, when } from "./dom.js";
import { call, token } from "./api.js";

export const tokens = { show: load };

async function load() {
  try {
    const answer = await call("GET", "v1/tokens");
    fault($("tokens-fault"), null);
    $("token-list").replaceChildren(...answer.tokens.map(item));
  } catch (error) {
    $("token-list").replaceChildren();
    fault($("tokens-fault"), error);
  }
}

document.addEventListener("kgs-self", () => { if (!$("tokens").hidden) load(); });

function item(t) {
  const name = t.name || t.id;
  const li = h("li", { className: "item" },
    h("div", { className: "what" },
      h("p", { className: "bar-line" }, h("span", { className: "mono key" }, t.id), h("span", { className: "role" }, t.role),
        token.get().startsWith(`kgs_${t.id}_`) && h("span", { className: "dim" }, "in use here")),
      t.name && h("p", { className: "name" }, t.name),
      h("p", { className: "dim meta" }, "made ", when(t.created_at), " · ", ...(t.expires_at ? ["valid until ", when(t.expires_at)] : ["valid for ever"]), t.max_links ? ` · up to ${plural(t.max_links, "link")}` : "")),
    h("div", { className: "acts" },
      h("button", { type: "button", className: "small danger", "aria-label": `Revoke ${name}`, onclick: () => revoke(t, name, li) }, "Revoke")));
  return li;
}

function revoke(t, name, li) {
  confirm(`Revoke ${name}?`, "Whoever uses this token is refused from now on.", "Revoke", async () => {
    await call("DELETE", `v1/tokens/${t.id}`);
    (li.nextElementSibling ?? li.previousElementSibling)?.querySelector("button").focus();
    li.remove();
    announce(`${name} revoked`);
  });
}

onSubmit($("new-token"), async (form) => {
  const wanted = { role: form.get("role") };
  for (const name of ["name", "ttl"]) if (form.get(name).trim()) wanted[name] = form.get(name).trim();
  const made = await call("POST", "v1/tokens", wanted, { once: false });
  $("new-token").reset();
  put($("made-text"), made.token);
  $("made-token").hidden = false;
  announce("Token made; its text is shown once");
  load();
});

$("copy-token").addEventListener("click", (event) => copy($("made-text").textContent, event.currentTarget));
