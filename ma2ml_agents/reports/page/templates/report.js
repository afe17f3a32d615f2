// Draws the charts, anew when the colour scheme changes, and the table of trials. Texts are set as text, never as HTML.
"use strict";
(() => {
  const report = JSON.parse(document.getElementById("report-data").textContent);
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  const CANVAS = 600; // rows from which a chart is pixels, not elements
  const STEP = 25; // rows of the table at a time

  const objects = ({ keys, rows }) => rows.map((row) => Object.fromEntries(keys.map((key, i) => [key, row[i]])));

  function draw(place) {
    const chart = report.charts[place.dataset.chart];
    const values = objects(chart);
    const small = place.clientWidth < 480;
    const spec = {
      $schema: "https://vega.github.io/schema/vega-lite/v6.json",
      width: "container",
      height: chart.height,
      autosize: { type: "fit-x", contains: "padding" },
      data: { values },
      ...JSON.parse(JSON.stringify(chart.spec)),
      config: JSON.parse(JSON.stringify(report.themes[dark.matches ? "dark" : "light"])),
    };
    if (small) {
      spec.config.axis.labelLimit = 150;
      spec.config.axisX = { tickCount: 4 };
      spec.config.legend.columns = 2;
    }
    return vegaEmbed(place, spec, {
      actions: false,
      renderer: values.length > CANVAS ? "canvas" : "svg",
      tooltip: { theme: dark.matches ? "dark" : "light" },
    }).catch((error) => {
      console.error(error);
      place.textContent = "This chart cannot be drawn: " + error.message;
    });
  }

  async function drawAll() {
    for (const place of document.querySelectorAll("[data-chart]")) await draw(place);
    document.body.dataset.drawn = "yes";
  }
  dark.addEventListener("change", drawAll);
  drawAll();

  const element = (name, text, kind) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    if (kind) made.className = kind;
    return made;
  };

  // Any table: a click on a column's name sorts its rows, numbers as numbers.
  for (const table of document.querySelectorAll("table.sortable")) {
    table.querySelectorAll("th").forEach((head, place) => head.addEventListener("click", () => {
      const up = !head.classList.contains("up");
      table.querySelectorAll("th").forEach((each) => each.classList.remove("up", "down"));
      head.classList.add(up ? "up" : "down");
      const rows = [...table.tBodies[0].rows];
      const value = (row) => row.cells[place].textContent;
      const order = (a, b) => (parseFloat(value(a)) - parseFloat(value(b))) || value(a).localeCompare(value(b));
      rows.sort((a, b) => (up ? order(a, b) : order(b, a)));
      table.tBodies[0].append(...rows);
    }));
  }

  const table = document.getElementById("table");
  if (!table || !report.trials) return;
  const { decisions, codes, metric } = report.trials;
  const trials = objects(report.trials);
  const amount = (n) => n == null ? "–" : n >= 1e9 ? (n / 1e9).toPrecision(3) + "G" : n >= 1e6 ? (n / 1e6).toPrecision(3) + "M" : n >= 1e3 ? (n / 1e3).toPrecision(3) + "k" : String(n);
  const fixed = (digits) => (n) => n == null ? "–" : n.toFixed(digits);
  const columns = [
    ["trial", "trial", (n, row) => n + (row.open ? " (open)" : "")],
    ["reward", "reward", fixed(4)],
    ["accuracy", report.trials.accuracy, fixed(4)],
    ...(metric === "accuracy" ? [] : [["score", metric.replaceAll("_", " "), fixed(4)]]),
    ["macs", "MACs", amount],
    ["params", "params", amount, "wide"],
    ["seconds", "seconds", fixed(1), "wide"],
    ["origin", "origin", String, "wide"],
    ["status", "status", String],
  ];
  const chosen = (index) => codes[index].map((code, i) => [decisions[i].agent, decisions[i].name,
    decisions[i].choices ? decisions[i].choices[code] : Number(code).toPrecision(4)]);
  const index = new Map(trials.map((row, i) => [row, i]));
  let sorted = ["reward", false], shown = STEP, found = trials;

  function head() {
    const line = element("tr");
    for (const [key, title, , kind] of columns) {
      const cell = element("th", title, kind);
      cell.dataset.sort = key;
      if (key === sorted[0]) cell.classList.add(sorted[1] ? "up" : "down");
      cell.addEventListener("click", () => { sorted = [key, key === sorted[0] ? !sorted[1] : key === "trial"]; fill(); });
      line.append(cell);
    }
    const made = element("thead");
    made.append(line);
    return made;
  }

  function opened(row) {
    const cell = element("td", undefined, "recipe");
    cell.colSpan = columns.length;
    let agent = null, list = null;
    const told = [["trial", "accuracy", fixed(4)(row.accuracy)], ["trial", "parameters", amount(row.params)],
      ["trial", "seconds", fixed(2)(row.seconds)], ["trial", "origin", row.origin], ...chosen(index.get(row))];
    for (const [who, name, choice] of told) {
      if (who !== agent) {
        agent = who;
        cell.append(element("strong", who));
        cell.append(list = element("dl"));
      }
      const pair = element("div");
      pair.append(element("dt", name), element("dd", choice));
      list.append(pair);
    }
    const line = element("tr");
    line.append(cell);
    return line;
  }

  function fill() {
    const [key, up] = sorted;
    const value = (row) => row[key] ?? (up ? Infinity : -Infinity);
    const order = (a, b) => typeof value(a) === "string" || typeof value(b) === "string"
      ? String(value(a)).localeCompare(String(value(b))) : value(a) - value(b) || a.trial - b.trial;
    const rows = [...found].sort((a, b) => (up ? order(a, b) : order(b, a)));
    const body = element("tbody");
    for (const row of rows.slice(0, shown)) {
      const line = element("tr", undefined, "trial");
      line.tabIndex = 0;
      for (const [name, , say, kind] of columns) line.append(element("td", say(row[name], row), kind));
      const toggle = () => {
        if (line.nextSibling && line.nextSibling.classList.contains("opened")) line.nextSibling.remove();
        else { const more = opened(row); more.className = "opened"; line.after(more); }
      };
      line.addEventListener("click", toggle);
      line.addEventListener("keydown", (event) => { if (event.key === "Enter") toggle(); });
      body.append(line);
    }
    table.replaceChildren(head(), body);
    document.getElementById("count").textContent = `${Math.min(shown, rows.length)} of ${rows.length} trials shown`;
    document.getElementById("more").hidden = rows.length <= shown;
  }

  const texts = new Map();
  const text = (row) => {
    if (!texts.has(row)) texts.set(row, [row.trial, row.origin, row.status, row.open ? "open" : "",
      ...chosen(index.get(row)).map(([, name, choice]) => `${name}=${choice}`)].join(" ").toLowerCase());
    return texts.get(row);
  };
  document.getElementById("filter").addEventListener("input", (event) => {
    const words = event.target.value.toLowerCase().split(/\s+/).filter(Boolean);
    found = trials.filter((row) => words.every((word) => /^\d+$/.test(word) ? String(row.trial) === word : text(row).includes(word)));
    shown = STEP;
    fill();
  });
  document.getElementById("more").addEventListener("click", () => { shown += 4 * STEP; fill(); });
  fill();
})();
