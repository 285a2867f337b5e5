// Makes the pages live. Every page works without this: links, forms and details are plain.
// Sections: helpers, ages, copying, swapping, new rows, event stream, filters, menus and dialogs, palette, keys.
"use strict";

const $ = (selector, root = document) => root.querySelector(selector);
const $$ = (selector, root = document) => [...root.querySelectorAll(selector)];
const main = () => $("#main");
// Before every path: the gateway may be below a path of a proxy.
const base = document.documentElement.dataset.base;

function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  node.append(...children);
  return node;
}

function toast(text, { bad = false, link = null } = {}) {
  const box = $("#toasts");
  if (!box) return;
  const node = element("div", { class: bad ? "toast bad" : "toast" }, element("div", {}, text));
  if (link) node.append(link);
  const close = element("button", { class: "btn sm ghost", type: "button" }, "Close");
  close.addEventListener("click", () => node.remove());
  node.append(close);
  box.append(node);
  if (!bad) setTimeout(() => node.remove(), 6000);
}

// ---- ages: `4 s ago` counts up by the server's clock ----

let clockSkew = 0;

function age(seconds) {
  const day = 86400, year = 365 * day;
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < day) return `${Math.floor(seconds / 3600)} h`;
  if (seconds < 2 * day) return "1 day";
  if (seconds < year) return `${Math.floor(seconds / day)} days`;
  if (seconds < 2 * year) return "1 year";
  return `${Math.floor(seconds / year)} years`;
}

function tickAges() {
  const now = Date.now() + clockSkew;
  for (const node of $$("time[data-age]")) {
    const seconds = Math.max(0, Math.floor((now - Date.parse(node.dateTime)) / 1000));
    const text = `${age(seconds)} ${node.dataset.age}`;
    if (node.textContent !== text) node.textContent = text;
  }
}

// ---- copying ----

async function copy(button) {
  try {
    await navigator.clipboard.writeText(button.dataset.copy);
  } catch {
    const code = button.parentElement.querySelector("code");
    if (code) getSelection().selectAllChildren(code);
    toast("Copying is not allowed here. The text is selected: press Ctrl C.", { bad: true });
    return;
  }
  const use = $("use", button);
  use.setAttribute("href", "#i-check");
  setTimeout(() => use.setAttribute("href", "#i-copy"), 2000);
}

// ---- swapping: elements stay the same where they can, so that focus, pointer and open menus survive ----

function morph(from, to, fresh = false) {
  if (from.nodeType !== to.nodeType || from.nodeName !== to.nodeName || (from.id || "") !== (to.id || "")) {
    from.replaceWith(to);
    return;
  }
  if (from.nodeType !== Node.ELEMENT_NODE) {
    if (from.data === to.data) return;
    from.data = to.data;
    const parent = from.parentElement;
    if (fresh && parent && parent.localName !== "time") {
      parent.classList.remove("fresh");
      requestAnimationFrame(() => parent.classList.add("fresh"));
    }
    return;
  }
  for (const { name } of [...from.attributes]) {
    if (!to.hasAttribute(name) && name !== "open") from.removeAttribute(name);
  }
  for (const { name, value } of [...to.attributes]) {
    if (from.getAttribute(name) !== value && !(name === "hidden" && from.matches("[data-copy]"))) from.setAttribute(name, value);
  }
  const old = [...from.childNodes], next = [...to.childNodes];
  next.forEach((child, i) => (old[i] ? morph(old[i], child, fresh) : from.append(child)));
  old.slice(next.length).forEach((child) => child.remove());
}

function enhance(root) {
  for (const node of $$("[data-copy], [data-keys]", root)) node.hidden = false;
  for (const form of $$("form.filters", root)) for (const node of $$("[data-plain]", form)) node.classList.add("sr");
}

async function fetchPage(url) {
  const response = await fetch(url, { headers: { accept: "text/html" } });
  if (response.redirected && new URL(response.url).pathname === `${base}sign-in`) location.assign(`${base}sign-in`);
  const page = new DOMParser().parseFromString(await response.text(), "text/html");
  if (!$("#main", page)) throw new Error("no page");
  return page;
}

async function swapMain(url) {
  const page = await fetchPage(url);
  const focused = document.activeElement && document.activeElement.id;
  const typed = focused && $(`#${CSS.escape(focused)}`, main());
  const value = typed && typed.value;
  const range = typed && typed.selectionStart;
  document.title = page.title;
  morph(main(), $("#main", page));
  const again = typed && $(`#${CSS.escape(focused)}`, main());
  if (again) {
    again.focus({ preventScroll: true });
    if (typeof value === "string" && again.localName === "input") {
      again.value = value;
      try { again.setSelectionRange(range, range); } catch { /* not a text field */ }
    }
  }
  held = [];
  enhance(main());
  follow();
}

// True while somebody has typed into a form that a swap would empty.
function isEdited() {
  return $$("form[method=post] :is(input, textarea):not([type=hidden])", main()).some((f) => f.type === "checkbox" ? f.checked !== f.defaultChecked : f.value !== f.defaultValue);
}

function refresh(words) {
  if (!isEdited()) {
    swapMain(location.href).then(() => words && toast(words)).catch(() => {});
    return;
  }
  const link = element("a", { href: location.href }, "Show");
  toast(words || "This page has changed.", { link });
}

// ---- new rows: put on top of a list, but never under the pointer; those wait behind a button ----

let held = [];

function addRows(id, html) {
  const list = document.getElementById(id);
  if (!list) { refresh(""); return; }
  const template = element("template");
  template.innerHTML = html;
  const isNew = (row) => !document.getElementById(row.id) && !held.some((other) => other.id === row.id);
  held = [...[...template.content.children].filter(isNew), ...held].slice(0, Number(list.dataset.max));
  if (list.matches(":hover, :focus-within")) markHeld(); else showHeld(list);
}

function showHeld(list) {
  for (const row of held) row.classList.add("fresh");
  list.prepend(...held);
  held = [];
  while (list.children.length > Number(list.dataset.max)) list.lastElementChild.remove();
  markHeld();
}

function markHeld() {
  const button = $("#held");
  if (!button) return;
  button.hidden = !held.length;
  $("span", button).textContent = `${held.length} new, show`;
}

document.addEventListener("click", (event) => {
  const list = event.target.closest("#held") && $("[data-max]", main());
  if (list) showHeld(list);
});

// ---- event stream: one per visible page ----

let source = null, followed = "", lastEvent = 0, openedAt = 0;

function follow() {
  const topics = main() ? main().dataset.topics || "" : "";
  const wanted = document.hidden ? "" : topics;
  const mark = $("#live");
  if (mark) mark.hidden = !topics;
  if (wanted === followed) return;
  if (source) source.close();
  source = null;
  followed = wanted;
  if (!wanted) return;
  openedAt = Date.now();
  source = new EventSource(`${base}live?topics=${encodeURIComponent(wanted)}`);
  const heard = () => { lastEvent = Date.now(); markLive(); };
  source.addEventListener("open", heard);
  source.addEventListener("tick", (event) => { clockSkew = Date.parse(event.data) - Date.now(); heard(); });
  source.addEventListener("fragment", (event) => {
    heard();
    const { id, html } = JSON.parse(event.data);
    const target = document.getElementById(id);
    if (!target) return;
    const template = element("template");
    template.innerHTML = html;
    morph(target, template.content.firstElementChild, true);
  });
  source.addEventListener("rows", (event) => {
    heard();
    const { id, html } = JSON.parse(event.data);
    addRows(id, html);
  });
  source.addEventListener("reload", (event) => { heard(); refresh(event.data === "ended" ? "A scan ended." : ""); });
  source.addEventListener("error", markLive);
}

function markLive() {
  const mark = $("#live");
  if (!mark || mark.hidden || !source) return;
  // The browser connects again by itself, but not after an answer that is no stream.
  const quiet = Date.now() - Math.max(lastEvent, openedAt) > 16000;
  const off = source.readyState !== EventSource.OPEN || quiet;
  mark.classList.toggle("off", off);
  const since = lastEvent ? `last event ${age(Math.floor((Date.now() - lastEvent) / 1000))} ago` : "no event yet";
  const text = off ? `Reconnecting, ${since}` : "Live";
  if (mark.textContent !== text) mark.textContent = text;
  mark.title = `Live values arrive over one event stream; ${since}.`;
  if ((source.readyState === EventSource.CLOSED || quiet) && Date.now() - openedAt > 5000) {
    // Who was signed out is led to the sign-in page by this; what it fetches is not needed.
    if (source.readyState === EventSource.CLOSED) fetchPage(location.href).catch(() => {});
    followed = "";
    follow();
  }
}

// ---- filters: submitted on change, the field keeps the focus ----

let filterTimer = 0;

function applyFilter(form) {
  const url = new URL(form.action);
  url.search = new URLSearchParams([...new FormData(form)].filter(([, value]) => value !== "")).toString();
  history.replaceState(null, "", url);
  swapMain(url.href).catch(() => location.assign(url));
}

document.addEventListener("input", (event) => {
  const form = event.target.closest("form.filters");
  if (!form || event.target.localName === "select") return;
  clearTimeout(filterTimer);
  filterTimer = setTimeout(() => applyFilter(form), 300);
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("form.filters");
  if (form && event.target.localName === "select") applyFilter(form);
});
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.matches("form.filters")) {
    event.preventDefault();
    clearTimeout(filterTimer);
    applyFilter(form);
  } else if (form.matches(".theme-form")) {
    event.preventDefault();
    flipTheme(form);
  } else if (form.method === "post" && event.submitter) {
    if (event.submitter.getAttribute("aria-busy") === "true") event.preventDefault();
    event.submitter.setAttribute("aria-busy", "true");
  }
});
addEventListener("pageshow", () => { for (const button of $$("form [aria-busy=true]:not(:disabled)")) button.removeAttribute("aria-busy"); });

function flipTheme(form) {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  $("[name=theme]", form).value = root.dataset.theme;
  fetch(form.action, { method: "POST", body: new URLSearchParams(new FormData(form)), redirect: "manual" }).catch(() => {});
}

// ---- menus and dialogs ----

document.addEventListener("click", (event) => {
  for (const menu of $$("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
  const button = event.target.closest("[data-copy], [data-keys], [data-palette], [data-confirm], [data-keep], [aria-disabled=true]");
  if (!button || event.ctrlKey || event.metaKey || event.shiftKey) return;
  if (button.matches("[aria-disabled=true]")) event.preventDefault();
  else if (button.matches("[data-copy]")) copy(button);
  else if (button.matches("[data-keys]")) openDialog($("#keys"));
  else if (button.matches("[data-palette]")) { event.preventDefault(); openPalette(); }
  else if (button.matches("[data-confirm]")) { event.preventDefault(); confirmBy(button.href); }
  else if (button.closest("dialog")) { event.preventDefault(); button.closest("dialog").close(); }
});

function openDialog(dialog) {
  if (dialog.open) return;
  const before = document.activeElement;
  dialog.addEventListener("close", () => before && before.focus(), { once: true });
  dialog.showModal();
}

async function confirmBy(url) {
  try {
    const form = $("#confirm", await fetchPage(url));
    const dialog = element("dialog", { class: "modal", "aria-labelledby": "confirm-title" }, form);
    dialog.addEventListener("close", () => dialog.remove(), { once: true });
    document.body.append(dialog);
    openDialog(dialog);
    $("[data-keep]", dialog).focus();
  } catch {
    location.assign(url);
  }
}

// ---- palette: Ctrl K ----

const palette = $("#palette");
let paletteTimer = 0, paletteAsk = null;

function options() { return $$("[role=option]", palette); }

function choose(index) {
  const all = options();
  all.forEach((option, i) => option.setAttribute("aria-selected", String(i === index)));
  const input = $("input", palette);
  if (all[index]) {
    input.setAttribute("aria-activedescendant", all[index].id);
    all[index].scrollIntoView({ block: "nearest" });
  } else input.removeAttribute("aria-activedescendant");
}

async function fillPalette() {
  if (paletteAsk) paletteAsk.abort();
  paletteAsk = new AbortController();
  const list = $("#palette-list");
  try {
    const response = await fetch(`${base}search/fragment?q=${encodeURIComponent($("input", palette).value)}`, { signal: paletteAsk.signal });
    if (!response.ok) throw new Error(response.statusText);
    list.innerHTML = await response.text();
    choose(0);
  } catch (error) {
    if (error.name !== "AbortError") list.replaceChildren(element("div", { class: "sec" }, "The gateway does not answer. Try again in a moment."));
  }
}

function openPalette() {
  openDialog(palette);
  $("input", palette).select();
  fillPalette();
}

if (palette) {
  $("input", palette).addEventListener("input", () => { clearTimeout(paletteTimer); paletteTimer = setTimeout(fillPalette, 120); });
  palette.addEventListener("keydown", (event) => {
    const all = options();
    const at = all.findIndex((option) => option.getAttribute("aria-selected") === "true");
    if (event.key === "ArrowDown") choose((at + 1) % all.length);
    else if (event.key === "ArrowUp") choose((at + all.length - 1) % all.length);
    else if (event.key === "Enter" && all[at]) {
      if (event.ctrlKey || event.metaKey) open(all[at].href, "_blank", "noopener");
      else { palette.close(); location.assign(all[at].href); }
    } else return;
    event.preventDefault();
  });
  palette.addEventListener("click", (event) => { if (event.target === palette || event.target.closest("a")) palette.close(); });
}

// ---- keys ----

const PLACES = { h: "hosts", f: "files", u: "files/duplicates", s: "files/scans", a: "activity" };
let wentAt = 0;

function selectRow(step) {
  const rows = $$(".table tbody tr, .dup > summary", main());
  if (!rows.length) return;
  const now = rows.findIndex((row) => row.contains(document.activeElement) && document.activeElement !== document.body);
  const row = rows[Math.min(rows.length - 1, Math.max(0, now + step))];
  const target = row.matches("summary") ? row : $("a, button", row);
  if (target) { target.focus(); row.scrollIntoView({ block: "nearest" }); }
}

document.addEventListener("keydown", (event) => {
  if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === "k" && palette) { event.preventDefault(); openPalette(); return; }
  if (event.key === "Escape") {
    const menu = $("details.menu[open]");
    if (menu) { menu.open = false; $("summary", menu).focus(); }
    return;
  }
  const typing = event.target.closest("input, textarea, select, [contenteditable], dialog");
  if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.toLowerCase();
  if (Date.now() - wentAt < 1500 && PLACES[key]) { location.assign(base + PLACES[key]); return; }
  if (key === "g") wentAt = Date.now();
  else if (key === "/" && $("#filter, #name")) { event.preventDefault(); $("#filter, #name").focus(); }
  else if (key === "j") selectRow(1);
  else if (key === "k") selectRow(-1);
  else if (event.key === "?" && $("#keys")) openDialog($("#keys"));
});

// ---- begin ----

enhance(document);
follow();
document.addEventListener("visibilitychange", () => { follow(); tickAges(); });
setInterval(() => { if (!document.hidden) { tickAges(); markLive(); } }, 1000);
