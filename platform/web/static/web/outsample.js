"use strict";
// Theme, charts, live fragments, form marks, copy buttons and keys. Everything else is HTML.

const root = document.documentElement;
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const say = (text) => { document.getElementById("say").textContent = text; };

// ── Theme ────────────────────────────────────────────────────────────────────
const THEMES = ["system", "light", "dark"];
const themeForm = document.getElementById("theme-form");
themeForm?.addEventListener("submit", (event) => {
  event.preventDefault();
  const next = THEMES[(THEMES.indexOf(root.dataset.theme) + 1) % THEMES.length];
  root.dataset.theme = next;
  document.cookie = `theme=${next};path=/;max-age=31536000;samesite=lax`;
  themeForm.querySelector("button").setAttribute("aria-label", `Theme: ${next}. Change it`);
  say(`Theme: ${next}`);
  redrawAll();
});
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => redrawAll());

// A token's colour as rgb(): light-dark() is resolved only on a real property.
function token(name) {
  const probe = document.createElement("span");
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const colour = getComputedStyle(probe).color;
  probe.remove();
  return colour;
}

// ── Charts ───────────────────────────────────────────────────────────────────
const charts = new Map(); // box → {figure, version}
const CONFIG = { displaylogo: false, displayModeBar: false, responsive: true };
const ROLES = ["accent", "up", "down", "warn", "muted", "series-3", "series-4", "series-5", "series-6"];
const PARTS = { model: "accent", benchmark: "series-6", band: "muted" };

function themed(figure) {
  const data = structuredClone(figure.data);
  const layout = structuredClone(figure.layout || {});
  const [text, line, up, down] = ["text", "line", "up", "down"].map(token);
  data.forEach((trace) => {
    const role = ROLES.includes(trace.meta) ? trace.meta : PARTS[trace.meta?.part];
    if (trace.type === "candlestick" || trace.type === "ohlc") {
      trace.increasing = { line: { color: up, width: 1 }, fillcolor: up };
      trace.decreasing = { line: { color: down, width: 1 }, fillcolor: down };
    } else if (trace.type === "heatmap") {
      trace.colorscale = [[0, down], [0.5, token("surface")], [1, up]];
      trace.colorbar = { thickness: 12, outlinewidth: 0, tickfont: { color: text } };
    } else if (role) {
      const colour = token(role);
      if (!(trace.mode === "markers")) trace.line = { ...trace.line, color: colour };
      if ((trace.mode || "").includes("markers") || trace.type === "bar") trace.marker = { ...trace.marker, color: colour };
      if (trace.fill && trace.fill !== "none") trace.fillcolor = colour.replace("rgb(", "rgba(").replace(")", ", 0.18)");
    }
  });
  const narrow = innerWidth < 600;
  Object.assign(layout, {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", autosize: true, height: undefined, title: undefined, separators: ".\u2009",
    colorway: ["accent", "series-3", "series-4", "series-5", "series-6"].map(token), hovermode: layout.hovermode || "x unified",
    font: { ...layout.font, color: text, size: 12, family: getComputedStyle(document.body).fontFamily },
    margin: { l: narrow ? 44 : 60, r: narrow ? 8 : 16, t: 8, b: 40, ...(layout.annotations ? { t: 24 } : {}) },
    legend: { orientation: "h", y: 1.02, yanchor: "bottom", x: 0, ...layout.legend, font: { color: text } },
    hoverlabel: { bgcolor: token("surface"), bordercolor: line, font: { color: text } },
  });
  if (data.length > 1) layout.margin.t = layout.annotations ? 52 : 36;
  if (layout.annotations) layout.legend.y = data.length > 6 ? 1.04 : 1.09;
  (layout.annotations || []).forEach((part) => Object.assign(part, { y: 1, yanchor: "bottom" })); // above the lines
  (layout.shapes || []).forEach((shape) => Object.assign(shape, { line: { ...shape.line, color: token("muted") }, fillcolor: token(shape.name || "muted") }));
  Object.keys(layout).filter((key) => /^[xy]axis/.test(key)).concat(["xaxis", "yaxis"]).forEach((key) => {
    layout[key] = { ...layout[key], gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true };
  });
  if (layout.xaxis) layout.xaxis.rangeslider = { visible: false };
  return { data, layout };
}

async function load(box, query = "") {
  const target = box.querySelector(".chart");
  const late = setTimeout(() => note(box, "Still working. Reload the page to try again."), 10000);
  try {
    const answer = await fetch(box.dataset.chart + query, { headers: { Accept: "application/json" } });
    if (answer.status === 204) return;
    if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
    const body = await answer.json();
    charts.set(box, body);
    box.loadedAt = Date.now();
    draw(box);
    const summary = body.figure.layout?.meta?.summary;
    if (summary) box.querySelector(".chart-summary").textContent = summary;
    note(box, body.note || (body.figure.layout?.meta?.aggregated ? "Thinned: extremes and the deepest fall are kept." : ""));
    if (box.dataset.zoom !== undefined && !target.dataset.bound) bindZoom(box, target);
  } catch (error) {
    note(box, `The chart could not be loaded: ${error.message}. Reload the page to try again.`);
  } finally {
    clearTimeout(late);
  }
}

function note(box, text) { box.querySelector(".chart-note:not(.chart-summary)").textContent = text; }

function draw(box) {
  const body = charts.get(box);
  if (!body || typeof Plotly === "undefined") return;
  const { data, layout } = themed(body.figure);
  if (box.dataset.log === "on") layout.yaxis = { ...layout.yaxis, type: "log" };
  layout.uirevision = box.dataset.range || "whole";
  if (box.dataset.range) layout.xaxis = { ...layout.xaxis, range: JSON.parse(box.dataset.range), autorange: false };
  Plotly.react(box.querySelector(".chart"), data, layout, CONFIG);
}

// The part of the chart that is shown, as a query; empty for the whole of it.
function spanOf(box, before = "?") {
  if (!box.dataset.range) return "";
  const [from, to] = JSON.parse(box.dataset.range);
  return `${before}from=${encodeURIComponent(from)}&to=${encodeURIComponent(to)}`;
}

function redrawAll() { charts.forEach((_, box) => draw(box)); }

function bindZoom(box, target) {
  target.dataset.bound = "1";
  let timer = 0;
  target.on("plotly_relayout", (change) => {
    const from = change["xaxis.range[0]"] ?? change["xaxis.range"]?.[0];
    const to = change["xaxis.range[1]"] ?? change["xaxis.range"]?.[1];
    if (from === undefined && !change["xaxis.autorange"]) return;
    clearTimeout(timer);
    timer = setTimeout(() => {
      if (from === undefined) { delete box.dataset.range; load(box); return; }
      box.dataset.range = JSON.stringify([from, to]);
      load(box, spanOf(box));
    }, 200);
  });
}

async function toggleTable(box, button) {
  const twin = box.querySelector(".twin");
  const open = twin.hidden;
  if (open) {
    const answer = await fetch(`${box.dataset.chart}?as=rows${spanOf(box, "&")}`);
    // The server escapes every cell; this is one of our own fragments.
    twin.innerHTML = answer.ok ? await answer.text() : "The table could not be loaded. Reload the page to try again.";
  }
  twin.hidden = !open;
  button.setAttribute("aria-expanded", String(open));
}

function startCharts(from = document) {
  all("[data-chart]:not(details:not([open]) *)", from).forEach((box) => { // closed ones wait
    if (charts.has(box)) return;
    load(box, spanOf(box));
    box.querySelector(".to-table")?.addEventListener("click", (event) => toggleTable(box, event.currentTarget));
    box.querySelector(".to-whole")?.addEventListener("click", () => { delete box.dataset.range; charts.delete(box); load(box); });
    box.querySelector(".to-log")?.addEventListener("click", (event) => {
      box.dataset.log = box.dataset.log === "on" ? "off" : "on";
      event.currentTarget.setAttribute("aria-pressed", String(box.dataset.log === "on"));
      draw(box);
    });
  });
}
startCharts();
addEventListener("toggle", ({ target }) => { all("[data-chart]", target).forEach((box) => target.open && charts.has(box) && load(box, spanOf(box))); startCharts(target); }, true);
addEventListener("beforeprint", redrawAll);
all("[data-jump]").forEach((form) => form.addEventListener("submit", (event) => {
  const box = document.getElementById(form.dataset.jump);
  const at = Date.parse(`${form.elements.at.value}T00:00:00Z`);
  if (!box || Number.isNaN(at)) return;
  event.preventDefault();
  box.dataset.range = JSON.stringify([at - 86400000, at + 2 * 86400000].map((ms) => new Date(ms).toISOString()));
  load(box, spanOf(box));
}));

// ── Live fragments ───────────────────────────────────────────────────────────
let failures = 0;
let { status: lastStatus, part: lastPart } = document.querySelector("[data-live]")?.dataset || {};
const lost = document.getElementById("lost");
const answered = (ok) => { failures = ok ? 0 : failures + 1; lost.hidden = failures < 2; };

// Fetches a region of this page again; its hx-select-oob names what else is renewed with it.
function renew(id) {
  const source = document.getElementById(id);
  if (source) htmx.ajax("GET", location.href, { source, target: `#${id}`, select: `#${id}`, swap: "outerHTML" });
}

document.body.addEventListener("htmx:beforeRequest", (event) => {
  if (document.hidden && event.detail.elt.getAttribute("hx-trigger")?.startsWith("every")) event.preventDefault();
});
document.body.addEventListener("htmx:sendError", () => answered(false));
document.body.addEventListener("htmx:responseError", () => answered(false));
document.body.addEventListener("htmx:afterOnLoad", (event) => answered(event.detail.xhr.status < 400));
document.body.addEventListener("htmx:afterSettle", () => {
  const live = document.querySelector("[data-live]");
  if (!live) return;
  if (live.dataset.title) document.title = live.dataset.title;
  all("[data-chart][data-version]:not(details:not([open]) *)").forEach((box) => {
    if (!live.dataset.version || box.dataset.version === live.dataset.version) return;
    if (live.hasAttribute("hx-get") && Date.now() - (box.loadedAt || 0) < 5000) return;
    box.dataset.version = live.dataset.version;
    load(box);
  });
  if (live.dataset.status !== lastStatus) {
    say(live.dataset.say || live.dataset.status);
    renew("results");
  } else if (live.dataset.part !== lastPart) renew("parts");
  [lastStatus, lastPart] = [live.dataset.status, live.dataset.part];
  startCharts();
});

// ── Forms ────────────────────────────────────────────────────────────────────
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.once === undefined) return;
  if (form.dataset.sent) { event.preventDefault(); return; }
  form.dataset.sent = "1";
  addEventListener("pageshow", () => delete form.dataset.sent, { once: true });
});
document.getElementById("errors")?.focus();

const presetData = document.getElementById("preset-values");
if (presetData) {
  const values = JSON.parse(presetData.textContent);
  const name = document.querySelector("#experiment-form [name=preset]").value;
  const form = document.getElementById("experiment-form");
  const read = (input) => (input.type === "checkbox" ? input.checked : input.value);
  const write = (input, value) => { if (input.type === "checkbox") input.checked = value; else input.value = value; };
  const words = (value) => (value === true ? "on" : value === false ? "off" : value === "" ? "empty" : value);
  const mark = () => {
    let changed = 0;
    all("[data-field]", form).forEach((field) => {
      const path = field.dataset.field;
      const input = form.elements[path];
      if (!input || !(path in values)) return;
      const shown = field.querySelector(".changed");
      if (String(read(input)) === String(values[path])) { shown?.remove(); return; }
      changed += 1;
      if (shown) return; // its button may be under the pointer just now
      const line = document.createElement("p");
      line.className = "changed";
      const named = [...(input.options || [])].find((one) => one.value === String(values[path]))?.text;
      line.append(`● changed from ${named || words(values[path])} `);
      const reset = document.createElement("button");
      reset.type = "button";
      reset.textContent = "Reset";
      reset.setAttribute("aria-label", `Reset ${path}`);
      reset.addEventListener("click", () => { write(input, values[path]); input.dispatchEvent(new Event("input", { bubbles: true })); input.focus(); });
      line.append(reset);
      field.append(line);
    });
    const bar = document.getElementById("changes");
    if (bar) bar.textContent = changed ? `${changed} change${changed > 1 ? "s" : ""} from ${name}` : `Equal to ${name}`;
  };
  form.addEventListener("input", mark);
  form.addEventListener("change", mark);
  document.getElementById("only-changed").addEventListener("change", (event) => {
    if (event.target.checked) all("details:has(.changed)", form).forEach((part) => { part.open = true; });
  });
  mark();
}

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard?.writeText(button.dataset.copy);
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  const open = event.target.closest("details.ask[open], details.menu[open], details.person[open]");
  if (open) { open.open = false; open.querySelector("summary").focus(); }
});

// ── Keys ─────────────────────────────────────────────────────────────────────
const GO = { h: "/", d: "/datasets/", e: "/experiments/", r: "/runs/", b: "/backtests/", j: "/jobs/" };
const switchKeys = document.getElementById("keys-switch");
const keysOn = () => localStorage.getItem("keys") !== "off";
const showKeys = () => { if (switchKeys) switchKeys.textContent = `Shortcut keys: ${keysOn() ? "on" : "off"}`; };
switchKeys?.addEventListener("click", () => { localStorage.setItem("keys", keysOn() ? "off" : "on"); showKeys(); });
showKeys();
let pending = false;
function step(by) {
  const rows = all("tbody tr:has(.pick)");
  const next = rows.findIndex((row) => row.contains(document.activeElement)) + by;
  rows[Math.max(0, Math.min(rows.length - 1, next))]?.querySelector("th a").focus();
}
document.addEventListener("keydown", (event) => {
  if (!keysOn() || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest("input:not(.pick), textarea, select, [contenteditable]")) return;
  if (pending && GO[event.key]) { location.href = GO[event.key]; return; }
  pending = event.key === "g";
  if (event.key === "n") document.querySelector("[data-new]")?.click();
  if (event.key === "j" || event.key === "k") step(event.key === "j" ? 1 : -1);
  if (event.key === "x") document.activeElement.closest("tr")?.querySelector(".pick")?.click();
  if (event.key === "c") document.querySelector("[data-compare]")?.click();
  if (event.key === "?") location.href = "/help/glossary/#keys";
  if (event.key === "/") {
    const search = document.querySelector("input[type=search]");
    if (search) { event.preventDefault(); search.focus(); }
  }
});
