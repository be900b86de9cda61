// Keeps the page current: replaces what has changed and nothing else, so that focus, selection and scrolling stay.
"use strict";

const live = document.getElementById("live");
let source, updatedAt = Date.now();

// Makes `now` like `next`. Elements with data-keep belong to this script, and an opened <details> to its reader.
function morph(now, next) {
  if (now.isEqualNode(next)) return;
  if (now.nodeType !== next.nodeType || now.nodeName !== next.nodeName || now.id !== next.id) {
    now.replaceWith(next);
    return;
  }
  if (now.nodeType !== Node.ELEMENT_NODE) {
    if (now.nodeValue !== next.nodeValue) now.nodeValue = next.nodeValue;
    return;
  }
  if (now.hasAttribute("data-keep")) return;
  for (const { name, value } of [...next.attributes]) {
    if (now.getAttribute(name) !== value) now.setAttribute(name, value);
  }
  for (const { name } of [...now.attributes]) {
    if (!next.hasAttribute(name) && !(name === "open" && now.nodeName === "DETAILS")) now.removeAttribute(name);
  }
  const before = [...now.childNodes], after = [...next.childNodes];
  after.forEach((child, at) => (at < before.length ? morph(before[at], child) : now.append(child)));
  before.slice(after.length).forEach((child) => child.remove());
}

// Replaces each time by its age; without this script the page shows the time itself.
function ages() {
  for (const time of document.querySelectorAll("main time[datetime]")) {
    const seconds = Math.max(0, (Date.now() - Date.parse(time.dateTime)) / 1000);
    const [count, unit] = [[86400, "day"], [3600, "hour"], [60, "min"], [1, "s"]].map(([size, unit]) => [Math.floor(seconds / size), unit]).find(([count]) => count > 0) ?? [0, "s"];
    const said = seconds < 3 ? "now" : `${count} ${unit}${count > 1 && /day|hour/.test(unit) ? "s" : ""} ago`;
    if (time.textContent !== said) time.textContent = said;
  }
}

function update({ data }) {
  for (const [id, html] of Object.entries(JSON.parse(data))) {
    const now = document.getElementById(id);
    if (!now) continue;
    const next = now.cloneNode(false);
    next.innerHTML = html;
    morph(now, next);
  }
  updatedAt = Date.now();
  ages();
  say();
}

function say() {
  const seconds = Math.round((Date.now() - updatedAt) / 1000);
  const lost = !source || source.readyState !== EventSource.OPEN;
  live.className = lost || seconds > 5 ? "live lost" : "live";
  const age = seconds < 3 ? "now" : `${seconds} s ago`;
  live.textContent = lost ? `not connected · updated ${age}` : `live · updated ${age}`;
}

function follow() {
  // The form to sign in has nothing that changes.
  if (!document.getElementById("health")) return;
  const query = new URLSearchParams(location.search);
  query.set("view", location.pathname);
  source = new EventSource(`/events?${query}`);
  source.onmessage = update;
  source.onerror = say;
}

// A page that nobody sees asks for nothing.
document.addEventListener("visibilitychange", () => {
  source?.close();
  if (!document.hidden) follow();
});

// The values of a chart under the pointer, or moved to with the arrow keys.
function point(plot, at) {
  const figure = plot.closest("figure");
  const head = [...figure.querySelectorAll("thead th")].slice(1);
  const rows = figure.querySelectorAll("tbody tr");
  const last = rows.length - 1;
  const index = Math.max(0, Math.min(last, at));
  const cursor = plot.querySelector(".cursor"), hover = figure.querySelector(".hover");
  plot.index = at === null ? undefined : index;
  cursor.hidden = at === null;
  if (at === null) { hover.textContent = ""; return; }
  cursor.style.left = `${(100 * index) / last}%`;
  const [time, ...values] = [...rows[index].children].map((cell) => cell.textContent);
  const said = values.map((value, which) => (values.length > 1 ? `${head[which].textContent.split(",")[0]} ` : "") + (value || "–"));
  hover.textContent = `${time} · ${said.join(" · ")}`;
}

document.addEventListener("pointermove", ({ target, clientX }) => {
  const plot = target.closest?.(".plot");
  document.querySelectorAll(".plot").forEach((other) => { if (other !== plot && !other.matches(":focus-visible")) point(other, null); });
  if (!plot) return;
  const { left, width } = plot.querySelector(".area").getBoundingClientRect();
  point(plot, Math.round(((clientX - left) / width) * (plot.closest("figure").querySelectorAll("tbody tr").length - 1)));
});

document.addEventListener("keydown", (event) => {
  const plot = event.target.closest?.(".plot");
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (plot && step) { point(plot, (plot.index ?? 179) + step); event.preventDefault(); }
  if (plot && event.key === "Escape") point(plot, null);
});

follow();
ages();
setInterval(() => { ages(); if (source) say(); }, 1000);
