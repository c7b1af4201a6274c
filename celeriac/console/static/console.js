// What the pages do beside showing: refresh, times, keyboard, theme. Everything works without it, but for these.
"use strict";

const EVERY = 2000; // milliseconds between two refreshes
const TIMES = ["UTC", "local", "relative"];
const live = () => document.getElementById("live");
let busy = false;
let row = -1;
let chosen = ""; // the address of the selected row: others may come before it
let unfolded = false; // somebody opened or closed something: it must stay so
let stopped = false; // somebody wants the page to stay as it is
let unanswered = 0; // refreshes in vain, one after the other

function stored(name, fallback) {
  try { return localStorage.getItem(name) || fallback; } catch { return fallback; }
}

function store(name, value) {
  try { localStorage.setItem(name, value); } catch { /* it lasts as long as the page */ }
}

// ---- refresh: not while the tab is hidden, something is open or ticked, or the pointer is over the rows

function held() {
  const page = live();
  return document.hidden || busy || stopped || !page.hasAttribute("hx-get")
    || unfolded || page.querySelector("[data-open], input[type=checkbox]:checked, tbody:hover, tbody :focus-visible, form :focus")
    || document.querySelector("dialog[open]");
}

setInterval(() => {
  if (held()) return;
  htmx.trigger(live(), "refresh");
}, EVERY);

document.addEventListener("htmx:before:request", (event) => { if (event.target === live()) busy = true; });
for (const name of ["htmx:finally:request", "htmx:after:request", "htmx:error"]) {
  document.addEventListener(name, () => { busy = false; });
}
document.addEventListener("htmx:error", () => { unanswered += 1; });
document.addEventListener("htmx:after:swap", () => { unanswered = 0; showTimes(); showAge(); selectAgain(); });

// ---- moments

function ago(moment) {
  let seconds = Math.round((Date.now() - moment) / 1000);
  const sign = seconds < 0;
  seconds = Math.abs(seconds);
  const [size, unit] = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]].find(([size]) => seconds >= size) || [1, "s"];
  const text = `${Math.floor(seconds / size)} ${unit}`;
  return sign ? `in ${text}` : `${text} ago`;
}

const two = (number) => String(number).padStart(2, "0");

function written(moment, mode) {
  if (mode === "UTC") return moment.toISOString().slice(0, 19).replace("T", " ") + " UTC";
  const day = `${moment.getFullYear()}-${two(moment.getMonth() + 1)}-${two(moment.getDate())}`;
  return `${day} ${two(moment.getHours())}:${two(moment.getMinutes())}:${two(moment.getSeconds())}`;
}

function showTimes() {
  const mode = stored("celeriac-times", "UTC");
  document.getElementById("times").textContent = mode;
  for (const each of document.querySelectorAll("time[datetime]")) {
    const moment = new Date(each.dateTime);
    const spanned = mode === "relative" || "ago" in each.dataset;
    const text = spanned ? ago(moment) : written(moment, mode);
    if (each.textContent !== text) each.textContent = text;
    each.title = written(moment, mode === "relative" ? "UTC" : mode);
  }
}

// What is seen may be old: because it must not move now, because somebody stopped it, or because nobody answers.
function showAge() {
  const [age, stale, page] = [document.getElementById("age"), document.getElementById("stale"), live()];
  const seconds = Math.max(0, Math.round((Date.now() - new Date(page.dataset.read)) / 1000));
  const span = seconds < 120 ? `${seconds} s` : `${Math.floor(seconds / 60)} min`;
  const old = stopped || seconds > 5;
  if (age) {
    age.hidden = !page.hasAttribute("hx-get"); // a form, which is not read anew
    age.textContent = stopped ? `stopped, ${span}` : old ? `read ${span} ago` : "live";
    age.classList.toggle("old", old);
    age.setAttribute("aria-pressed", String(stopped));
  }
  stale.hidden = unanswered < 2;
  if (!stale.hidden) stale.textContent = `The console does not answer. What you see was read ${span} ago.`;
}

function stop() {
  stopped = !stopped;
  showAge();
}

// ---- rows

const rows = () => [...document.querySelectorAll("tbody tr[data-href]")];

function select(number, focus = true) {
  const all = rows();
  for (const each of all) each.classList.remove("selected");
  if (number < 0 || !all.length) return;
  row = Math.min(number, all.length - 1);
  all[row].classList.add("selected");
  chosen = all[row].dataset.href;
  if (focus) all[row].scrollIntoView({ block: "nearest" });
}

// The page was read anew: the same row is selected, wherever it is now; where it is gone, none is.
function selectAgain() {
  if (!chosen) return;
  const found = rows().findIndex((each) => each.dataset.href === chosen);
  for (const each of rows()) each.classList.toggle("selected", each.dataset.href === chosen);
  row = found < 0 ? Math.min(row, rows().length) - 1 : found;
  if (found < 0) chosen = "";
}

document.addEventListener("click", (event) => {
  if (event.target.closest("#live summary")) unfolded = true;
  const found = event.target.closest("tbody tr[data-href]");
  if (!found || event.target.closest("a, input, button, label") || String(getSelection())) return;
  location.href = found.dataset.href;
});

// ---- what cannot be undone is asked for once more

document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.sure;
  if (question && !confirm(question)) event.preventDefault();
});

// ---- ticked rows: all at once, and how many

function boxes(form) {
  return [...form.querySelectorAll("tbody input[type=checkbox]")];
}

function countTicked(form) {
  const count = boxes(form).filter((box) => box.checked).length;
  for (const each of form.querySelectorAll(".ticked")) each.textContent = count ? `${count} ticked;` : "";
}

document.addEventListener("change", (event) => {
  const form = event.target.closest("form.acting");
  if (!form || event.target.type !== "checkbox") return;
  if ("all" in event.target.dataset) for (const box of boxes(form)) box.checked = event.target.checked;
  countTicked(form);
});

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input, select, textarea")) {
    if (event.key === "Escape") event.target.blur();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  const onControl = event.target.closest("a, button, summary");
  if (event.key === "/") { event.preventDefault(); document.getElementById("filter")?.focus(); }
  else if (event.key === "j") select(row + 1);
  else if (event.key === "k") select(Math.max(0, row - 1));
  else if (event.key === "x" && chosen) { const box = rows()[row]?.querySelector("input[type=checkbox]"); if (box) box.click(); }
  else if (event.key === "Enter" && !onControl && chosen) location.href = chosen;
  else if (event.key === "g") { event.preventDefault(); document.getElementById("go")?.focus(); }
  else if (event.key === "p") stop();
  else if (event.key === "?") document.getElementById("help").showModal();
});

document.getElementById("age")?.addEventListener("click", stop);
// On a telephone the pages are wider than the screen. To scroll the page itself there would move the start of the
// way that Tab takes behind the link to the content.
const here = document.querySelector("nav[aria-label=pages] [aria-current]");
if (here) here.parentElement.scrollLeft = here.offsetLeft - (here.parentElement.clientWidth - here.offsetWidth) / 2;
document.getElementById("keys").addEventListener("click", () => document.getElementById("help").showModal());
document.getElementById("times").addEventListener("click", () => {
  const now = stored("celeriac-times", "UTC");
  store("celeriac-times", TIMES[(TIMES.indexOf(now) + 1) % TIMES.length]);
  showTimes();
});
document.getElementById("theme").addEventListener("click", () => {
  const dark = document.documentElement.dataset.theme
    ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
  store("celeriac-theme", document.documentElement.dataset.theme);
});

showTimes();
showAge();
setInterval(() => { showAge(); showTimes(); }, 1000);
