"use strict";
// Draws the charts, and keeps table, brush and the architecture under the mouse together. Texts are never made HTML.
(() => {
  const SHOWN = 100; // rows of the table
  const LONG = 130; // characters of a cell
  const COLOURS = ["#bbbbbb", "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#332288", "#999933",
    "#882255", "#44aa99", "#777777"];
  const DIGITS = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
  const tabs = JSON.parse(document.getElementById("data").textContent);
  const started = new Map();

  function element(name, text, attributes = {}) {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  }

  function rowsOf(columns) {
    const names = Object.keys(columns);
    const length = names.length ? columns[names[0]].length : 0;
    return Array.from({ length }, (_, i) => Object.fromEntries([["i", i], ...names.map((name) => [name, columns[name][i]])]));
  }

  function written(value) {
    if (value === null || value === undefined) return "–";
    return typeof value === "number" && !Number.isInteger(value) ? String(Number(value.toPrecision(5))) : String(value);
  }

  // --- tables --------------------------------------------------------------------------------------------------------

  function makeTable(place, tab, rows, hover) {
    const state = { sort: tab.columns[1] ? tab.columns[1][0] : "arch", down: true, text: "", brush: () => true };
    const bar = element("div", undefined, { class: "bar" });
    const filter = element("input", undefined, { type: "search", placeholder: "filter: part of an architecture, or e.g. " + (tab.columns[1] ? tab.columns[1][1] : "x") + " > 1" });
    const copy = element("button", "copy as CSV", { type: "button" });
    const count = element("span", "", { class: "line" });
    bar.append(filter, copy, count);
    const table = element("table", undefined, { class: "rows" });
    const head = table.createTHead().insertRow();
    const body = table.createTBody();
    const wide = element("div", undefined, { class: "wide" });
    wide.append(table);
    place.append(bar, wide);
    let shown = [];

    const fields = Object.fromEntries(tab.columns.map(([field, title]) => [title, field]));
    function passes() {
      const asked = state.text.match(/^\s*(.+?)\s*(<=|>=|<|>|=)\s*(-?[\d.eE+-]+)\s*$/);
      if (asked && fields[asked[1]] !== undefined && Number.isFinite(Number(asked[3]))) {
        const field = fields[asked[1]], limit = Number(asked[3]);
        const tests = { "<": (v) => v < limit, ">": (v) => v > limit, "<=": (v) => v <= limit, ">=": (v) => v >= limit, "=": (v) => v === limit };
        return (row) => row[field] !== null && tests[asked[2]](row[field]);
      }
      const words = state.text.toLowerCase();
      return (row) => tab.columns.some(([field, , kind]) => kind === "text" && String(row[field]).toLowerCase().includes(words));
    }
    function update() {
      const test = state.text ? passes() : () => true;
      const turn = state.down ? -1 : 1;
      shown = rows.filter((row) => state.brush(row) && test(row));
      shown.sort((a, b) => {
        const x = a[state.sort], y = b[state.sort];
        if (x === y) return a.i - b.i;
        if (x === null || x === undefined) return 1;
        if (y === null || y === undefined) return -1;
        return x < y ? -turn : turn;
      });
      count.textContent = `${shown.length.toLocaleString("en")} of ${rows.length.toLocaleString("en")}` + (shown.length > SHOWN ? `, the first ${SHOWN}` : "");
      head.replaceChildren(...tab.columns.map(([field, title, kind]) => {
        const cell = element("th", title + (field === state.sort ? (state.down ? " ▾" : " ▴") : ""), { class: kind });
        cell.addEventListener("click", () => {
          state.down = field === state.sort ? !state.down : kind === "number";
          state.sort = field;
          update();
        });
        return cell;
      }));
      body.replaceChildren(...shown.slice(0, SHOWN).map((row) => {
        const line = element("tr", undefined, { "data-row": row.i });
        line.append(...tab.columns.map(([field, , kind]) => {
          const text = written(row[field]);
          return element("td", text.length > LONG ? text.slice(0, LONG) + "…" : text, { class: kind });
        }));
        line.addEventListener("mouseenter", () => hover(row));
        return line;
      }));
    }
    filter.addEventListener("input", () => { state.text = filter.value.trim(); update(); });
    copy.addEventListener("click", () => copied(copy, csv(tab.columns, shown)));
    update();
    return { brush(test) { state.brush = test; update(); }, csv: () => csv(tab.columns, shown) };
  }

  function csv(columns, rows) {
    const cell = (value) => {
      const text = value === null || value === undefined ? "" : String(value);
      return /[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
    };
    return [columns.map(([, title]) => cell(title)), ...rows.map((row) => columns.map(([field]) => cell(row[field])))]
      .map((cells) => cells.join(",")).join("\n") + "\n";
  }

  function copied(button, text) {
    const told = button.textContent;
    const say = (word) => { button.textContent = word; setTimeout(() => { button.textContent = told; }, 1200); };
    const old = () => { // pages from a disk may have no clipboard of their own
      const area = element("textarea");
      area.value = text;
      document.body.append(area);
      area.select();
      const done = document.execCommand("copy");
      area.remove();
      say(done ? "copied" : "cannot copy");
    };
    if (navigator.clipboard) navigator.clipboard.writeText(text).then(() => say("copied"), old);
    else old();
  }

  // --- one architecture ----------------------------------------------------------------------------------------------

  function graphOf(key, text) {
    // nodes with their depth, and edges [from, to, op]; null for an op that stands on the node
    if (key.edges) {
      const nodes = Array.from({ length: 1 + Math.max(...key.edges.flat()) }, (_, n) => ({ label: n === 0 ? "in" : String(n), op: null }));
      nodes[nodes.length - 1].label = "out";
      return [{ nodes, edges: key.edges.map(([from, to], e) => [from, to, DIGITS.indexOf(text[e])]), onEdges: true }];
    }
    return text.split("|").map((cell) => {
      const [ops, hex] = cell.split(":");
      const bits = [...hex].map((digit) => parseInt(digit, 16).toString(2).padStart(4, "0")).join("");
      const nodes = [...ops].map((digit) => ({ label: key.ops[DIGITS.indexOf(digit)], op: DIGITS.indexOf(digit) }));
      const edges = [];
      for (let to = 1, at = 0; to < nodes.length; to++) for (let from = 0; from < to; from++, at++) if (bits[at] === "1") edges.push([from, to, null]);
      return { nodes, edges, onEdges: false };
    });
  }

  function draw(key, text) {
    const box = element("div");
    for (const graph of graphOf(key, text)) box.append(drawGraph(key, graph));
    if (key.edges) {
      const legend = element("div", undefined, { class: "line" });
      key.ops.forEach((op, n) => {
        const mark = element("span", "■ ");
        mark.style.color = colour(key, n);
        legend.append(mark, op, "  ");
      });
      box.append(legend);
    }
    return box;
  }

  function colour(key, op) {
    return op === key.zero ? "#d5d5d5" : COLOURS[op % COLOURS.length];
  }

  function drawGraph(key, graph) {
    const svg = (name, attributes, text) => {
      const made = document.createElementNS("http://www.w3.org/2000/svg", name);
      for (const [k, v] of Object.entries(attributes)) made.setAttribute(k, v);
      if (text !== undefined) made.textContent = text;
      return made;
    };
    const depth = graph.nodes.map(() => 0);
    for (const [from, to] of [...graph.edges].sort((a, b) => a[1] - b[1])) depth[to] = Math.max(depth[to], depth[from] + 1);
    const layers = [];
    depth.forEach((d, n) => (layers[d] = layers[d] || []).push(n));
    const most = Math.max(...layers.map((layer) => layer.length));
    const stepX = Math.max(92, 7 * Math.max(...graph.nodes.map((node) => node.label.length)) + 34), stepY = graph.onEdges ? 90 : 40;
    const width = stepX * layers.length + 20, height = graph.onEdges ? 190 : 60 + stepY * most;
    const at = [];
    layers.forEach((layer, d) => layer.forEach((n, i) => {
      at[n] = [10 + stepX / 2 + d * stepX, graph.onEdges ? height / 2 : height / 2 + (i - (layer.length - 1) / 2) * stepY];
    }));
    const picture = svg("svg", { class: "graph", width, height, viewBox: `0 0 ${width} ${height}` });
    for (const [from, to, op] of graph.edges) {
      const [x0, y0] = at[from], [x1, y1] = at[to];
      const span = depth[to] - depth[from];
      const bend = span > 1 ? (graph.onEdges ? ((from % 2 ? 1 : -1) * 38 * (span - 1)) : (y0 === y1 ? -16 * span : 0)) : 0;
      const line = svg("path", {
        d: `M${x0},${y0} Q${(x0 + x1) / 2},${(y0 + y1) / 2 + 2 * bend} ${x1},${y1}`, fill: "none",
        stroke: op === null ? "#999999" : colour(key, op), "stroke-width": op === null ? 1.2 : op === key.zero ? 1 : 3,
      });
      if (op !== null && op === key.zero) line.setAttribute("stroke-dasharray", "4 4");
      if (op !== null) line.append(svg("title", {}, key.ops[op]));
      picture.append(line);
    }
    graph.nodes.forEach((node, n) => {
      const [x, y] = at[n];
      const wide = Math.max(24, 7 * node.label.length + 10);
      picture.append(svg("rect", { x: x - wide / 2, y: y - 11, width: wide, height: 22, rx: 5, fill: "#ffffff", stroke: node.op === null ? "#777777" : colour({}, node.op) }));
      picture.append(svg("text", { x, y: y + 4, "text-anchor": "middle" }, node.label));
    });
    return picture;
  }

  function makeCell(place, tab) {
    place.append(element("p", "Move the mouse over a dot or a row.", { class: "line" }));
    let last = -1;
    return (row) => {
      if (row.i === last) return;
      last = row.i;
      const words = element("div", undefined, { class: "words" });
      const detail = (tab.details || {})[row.i] || {};
      const list = element("div", undefined, { class: "numbers" });
      for (const [field, title, kind] of tab.columns) {
        if (kind !== "number") continue;
        const line = element("div");
        line.append(element("span", title), element("span", written(row[field])));
        list.append(line);
      }
      words.append(list, element("code", row.arch));
      for (const [name, text] of Object.entries(detail.strings || {})) words.append(element("p", name), element("code", text));
      const parts = [words];
      if (tab.drawing && row.cell) parts.unshift(draw(tab.drawing, row.cell));
      if (detail.spectrum) {
        const chart = element("div");
        const values = detail.spectrum.map((value, k) => ({ k: k + 1, value })).filter((entry) => entry.value > 0);
        embed(chart, tab.spectrum, { spectrum: values });
        parts.push(chart);
      }
      place.replaceChildren(...parts);
    };
  }

  // --- charts --------------------------------------------------------------------------------------------------------

  function embed(place, spec, data) {
    const options = { mode: "vega-lite", renderer: "canvas", actions: { export: true, source: false, compiled: false, editor: false } };
    const used = new Set();
    JSON.stringify(spec, (key, value) => {
      if (key === "data" && value && value.name) used.add(value.name);
      return value;
    });
    const datasets = Object.fromEntries([...used].map((name) => [name, data[name] || []]));
    return vegaEmbed(place, { ...spec, datasets, background: "white" }, options);
  }

  function brushed(value) {
    const ranges = Object.entries(value || {}).filter(([, range]) => Array.isArray(range) && range.length === 2);
    return (row) => ranges.every(([field, [a, b]]) => row[field] !== null && row[field] !== undefined && row[field] >= Math.min(a, b) && row[field] <= Math.max(a, b));
  }

  async function start(number) {
    const tab = tabs[number];
    const place = document.querySelector(`main[data-tab="${number}"]`);
    const data = Object.fromEntries(Object.entries(tab.data).map(([name, columns]) => [name, rowsOf(columns)]));
    const rows = data.rows || [];
    const cell = place.querySelector("[data-part=cell]");
    const hover = cell ? makeCell(cell, tab) : () => {};
    const table = place.querySelector("[data-part=table]");
    const shown = table ? makeTable(table, tab, rows, hover) : null;
    if (rows.length) hover(rows[0]);
    const views = {};
    for (const chart of place.querySelectorAll("[data-chart]")) {
      const name = chart.dataset.chart;
      const { view } = await embed(chart, tab.charts[name], data);
      views[name] = view;
      view.addEventListener("mouseover", (_, item) => {
        const row = item && item.datum && rows[item.datum.i];
        if (row && row.arch === item.datum.arch) hover(row);
      });
      if (name === "ranks" && shown) view.addSignalListener("brush", (_, value) => shown.brush(brushed(value)));
    }
    return { views, table: shown };
  }

  function show(number) {
    for (const main of document.querySelectorAll("main")) main.hidden = main.dataset.tab !== String(number);
    for (const button of document.querySelectorAll("nav button")) button.setAttribute("aria-pressed", button.dataset.tab === String(number));
    if (!started.has(number)) started.set(number, start(number));
    return started.get(number);
  }

  for (const button of document.querySelectorAll("nav button")) button.addEventListener("click", () => show(Number(button.dataset.tab)));
  for (const button of document.querySelectorAll("[data-copy]")) {
    button.addEventListener("click", () => copied(button, document.getElementById(button.dataset.copy).textContent));
  }
  window.jaxnas = { ready: show(0), show };
  window.jaxnas.ready.then(() => document.body.setAttribute("data-ready", "yes"));
})();
